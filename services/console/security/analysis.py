"""A prompt's analysis, and what a tenant's policy makes of it. Pure.

The first half happens in a process beside the console and knows no tenant; nothing of it
holds a value that was found: places, types and a masked text.
"""

from collections.abc import Callable, Mapping
from typing import Any, Protocol

from schemas.control import PolicyChanged
from services.common.control.thresholds import Thresholds, action_on
from services.detection.finding import is_secret, placeholder_name
from services.detection.masking import mask
from services.detection.prompt_attacks.detector import Verdict

MAX_PROMPT_BYTES = 100 * 1024
_MOST_FINDINGS = 64
_MOST_VALUES = 1000
_SUSPICIOUS = "suspicious_prompt"
Analyse = Callable[[str], dict[str, Any]]


class Judges(Protocol):
    """`PromptDetector.inspect`."""

    def __call__(self, text: str, *, depth: Any) -> Verdict:
        """A text's verdict."""


def analyse(prompt: str, judge: Judges) -> dict[str, Any]:
    """What a prompt holds, whoever asks: its points, the rules that matched, personal
    data and secrets, each by its place. Some lists are cut: `partial` says so.
    """
    verdict, masked = judge(prompt, depth="full"), mask(prompt)
    hits = [one for one in verdict.threats if one.weight > 0]
    return {
        "score": round(verdict.score, 3),
        "probability": round(verdict.probability, 4),
        "categories": list(verdict.categories),
        "findings": [
            {
                "category": one.category,
                "rule": one.rule,
                "span": [one.start, one.end],
                "weight": round(one.weight, 3),
                "disguise": "" if one.view == "plain" else one.view,
            }
            for one in hits[:_MOST_FINDINGS]
        ],
        "pii": [
            {
                "type": one.type,
                "placeholder_kind": placeholder_name(one.type),
                "span": [one.start, one.end],
                "certainty": round(one.score, 3),
                "is_secret": is_secret(one.type),
            }
            for one in masked.findings[:_MOST_VALUES]
        ],
        "masked_prompt": masked.text,
        "partial": verdict.partial or len(hits) > _MOST_FINDINGS or len(masked.findings) > _MOST_VALUES,
        "detector_version": verdict.model_version,
        "rules_version": verdict.rules_version,
    }


def judged(found: Mapping[str, Any], thresholds: Thresholds, policy: PolicyChanged) -> dict[str, Any]:
    """The answer to a tenant: with the level by its thresholds and what its policy does
    about such a prompt. `threats_detected` are kinds, the strongest first; one that no
    rule names is `suspicious_prompt`.
    """
    level = thresholds.level(found["score"])
    is_threat = level != "none"
    return {
        **found,
        "risk_level": level,
        "threats_detected": (found["categories"] or [_SUSPICIOUS]) if is_threat else [],
        "action": _action(level, found, policy),
    }


def _action(level: str, found: Mapping[str, Any], policy: PolicyChanged) -> str:
    """What gateways do with a prompt of this level: block, flag, mask or allow."""
    done = action_on(level, policy)
    has_secret = any(one["is_secret"] for one in found["pii"])
    if done == "blocked" or (policy.secrets == "block" and has_secret):
        return "block"
    if done == "flagged":
        return "flag"
    hides_secret = policy.secrets == "mask" and has_secret
    hides_personal = policy.mask_prompt and any(not one["is_secret"] for one in found["pii"])
    return "mask" if hides_secret or hides_personal else "allow"
