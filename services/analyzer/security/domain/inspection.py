"""One ended request, looked at in full: its prompt, its answer, the sketch of what was
asked.
"""

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

from schemas.events.security import PromptRisk, RequestObserved, RuleHit, SecurityFinding, TextFinding
from schemas.inference import InferenceCompleted
from services.analyzer.security.domain.conversation import Conversation, conversation
from services.analyzer.security.domain.excerpt import excerpt
from services.analyzer.security.domain.findings import CATEGORIES, finding_id
from services.analyzer.security.domain.levels import MOST_POINTS, level_of
from services.analyzer.security.domain.output import CANARY, Leak, leaks
from services.analyzer.security.domain.statistics.similarity import sketch
from services.common.control.thresholds import Thresholds
from services.detection.output_rules import Action
from services.detection.prompt_attacks.detector import Threat, Verdict

OUTPUT_VERSION = "output-1"
_MOST_RULES = 32
Judge = Callable[[str], Verdict]
"""A prompt's verdict in full depth."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a tenant's policy asks for, where its levels begin, and what gateways do about
    leaks (secrets, the system prompt) and personal data of others in answers.
    """

    prompts: bool
    answers: bool
    thresholds: Thresholds
    leaks: Action = "observe"
    personal: Action = "observe"


def observe_request(event: InferenceCompleted, judge: Judge, wanted: Wanted) -> RequestObserved:
    """What an ended request shows. Without its texts, who asked when, and how it ended."""
    said = conversation(event.prompt_text or "", event.prompt_parts)
    findings: list[TextFinding] = []
    score = 0.0
    if wanted.prompts:
        score, findings = _inspect_prompt(event, said, judge, wanted.thresholds)
    if wanted.answers and event.response_text:
        findings += _inspect_answer(event, said, event.response_text, wanted)
    return RequestObserved(
        request_id=event.request_id,
        tenant=event.tenant,
        user=event.user,
        key_id=event.key_id,
        model=event.model,
        at=event.completed_at,
        outcome=event.outcome.value,
        error_code=event.error_code,
        score=round(score, 3),
        sketch=sketch(said.newest) if wanted.prompts else "",
        findings=tuple(findings),
    )


def _inspect_prompt(
    event: InferenceCompleted, said: Conversation, judge: Judge, thresholds: Thresholds
) -> tuple[float, list[TextFinding]]:
    """The newest messages' score, and what is at least of medium level, earlier messages
    included. What the gateway saw inline stands where this sees less, or no text.
    """
    findings = []
    inline = event.risk or PromptRisk()
    score = inline.score
    for text, earlier in ((said.newest, False), *[(one, True) for one in said.earlier]):
        verdict = judge(text) if text.strip() else None
        if verdict is not None and not earlier:
            score = max(score, verdict.score)
        if verdict is not None and verdict.score >= thresholds.medium:
            found = _prompt_finding(event, text, verdict, thresholds, earlier=earlier)
            findings.append(TextFinding(finding=found, text=_digest(text), earlier=earlier))
    if inline.score >= thresholds.medium and not any(not one.earlier for one in findings):
        findings.append(TextFinding(finding=_inline_finding(event, inline, thresholds)))
    return score, findings


def _inline_finding(event: InferenceCompleted, inline: PromptRisk, thresholds: Thresholds) -> SecurityFinding:
    """What the gateway saw, which had the text."""
    return _finding(
        event,
        "prompt",
        next((one for one in inline.categories if one in CATEGORIES), "suspicious_prompt"),
        inline.score,
        thresholds,
        depth="inline",
        probability=inline.probability,
        detector_version=inline.detector_version,
        rules_version=inline.rules_version,
        explanation=(
            f"{inline.score:.1f} points before it was served, by {inline.depth}",
            *[f"rules of the kind {one} matched" for one in inline.categories[:3]],
        ),
    )


def _prompt_finding(
    event: InferenceCompleted, text: str, verdict: Verdict, thresholds: Thresholds, *, earlier: bool
) -> SecurityFinding:
    category = next((one for one in verdict.categories if one in CATEGORIES), "suspicious_prompt")
    first = next((one.start for one in verdict.threats if one.weight > 0), 0)
    return _finding(
        event,
        "prompt",
        category,
        verdict.score,
        thresholds,
        text=_digest(text) if earlier else "",
        probability=round(verdict.probability, 4),
        rules=tuple(
            [
                RuleHit(
                    rule=one.rule,
                    category=one.category,
                    weight=round(one.weight, 3),
                    start=one.start,
                    end=one.end,
                    view=one.view,
                )
                for one in verdict.threats[:_MOST_RULES]
            ]
        ),
        detector_version=verdict.model_version,
        rules_version=verdict.rules_version,
        explanation=tuple(_reasons(verdict, earlier=earlier)),
        masked_text=excerpt(text, first),
    )


def _reasons(verdict: Verdict, *, earlier: bool) -> Iterable[str]:
    yield f"{verdict.score:.1f} points: {verdict.probability:.0%} likely an attack where half of all are"
    if earlier:
        yield "an earlier message of the conversation, told once"
    for one in [threat for threat in verdict.threats if threat.weight > 0][:3]:
        yield _matched(one)
    if not verdict.threats:
        yield "no rule matched: the model alone says so"
    if verdict.capped:
        yield "held below critical, as rules and model do not agree"
    if verdict.partial:
        yield "longer than what was read: an even sample of it"


def _matched(one: Threat) -> str:
    disguise = "" if one.view == "plain" else f", disguised ({one.view})"
    return f"rule {one.rule} ({one.category}) matched characters {one.start} to {one.end}{disguise}"


def _inspect_answer(
    event: InferenceCompleted, said: Conversation, answer: str, wanted: Wanted
) -> list[TextFinding]:
    """One finding a category: its strongest leak, and a little for each further one."""
    found = sorted(leaks(answer, said), key=lambda one: one.category)
    return [
        TextFinding(finding=_leak_finding(event, category, list(some), answer, wanted))
        for category, some in groupby(found, key=lambda one: one.category)
    ]


def _leak_finding(
    event: InferenceCompleted, category: str, found: Sequence[Leak], answer: str, wanted: Wanted
) -> SecurityFinding:
    points = min(MOST_POINTS, max(one.points for one in found) + 0.5 * (len(found) - 1))
    return _finding(
        event,
        "response",
        category,
        points,
        wanted.thresholds,
        action=_done_about(event, category, found, wanted),
        rules=tuple(
            [
                RuleHit(rule=one.rule, category=category, weight=one.points, start=one.start, end=one.end)
                for one in found[:_MOST_RULES]
            ]
        ),
        detector_version=OUTPUT_VERSION,
        explanation=tuple(dict.fromkeys([one.why for one in found]))[:5],
        masked_text=excerpt(answer, found[0].start),
    )


def _done_about(event: InferenceCompleted, category: str, found: Sequence[Leak], wanted: Wanted) -> str:
    """What the gateway did, which looks for all of it but canaries."""
    action = wanted.personal if category == "personal_data_leak" else wanted.leaks
    if action == "cut" and "content_filter" in event.finish_reasons:
        return "blocked"
    return "masked" if action == "mask" and all(one.rule != CANARY for one in found) else "flagged"


def _finding(
    event: InferenceCompleted,
    place: str,
    category: str,
    points: float,
    thresholds: Thresholds,
    *,
    text: str = "",
    **evidence: object,
) -> SecurityFinding:
    values: Mapping[str, object] = {
        "finding_id": finding_id(event.tenant, event.user, text or event.request_id, place, category),
        "found_at": event.completed_at,
        "tenant": event.tenant,
        "user": event.user,
        "key_id": event.key_id,
        "request_id": event.request_id,
        "model": event.model,
        "place": place,
        "depth": "full",
        "category": category,
        "level": level_of(points, thresholds),
        "score": round(points, 3),
        "action": "blocked" if event.risk is not None and event.risk.action == "blocked" else "flagged",
    }
    return SecurityFinding.model_validate({**values, **evidence})


def _digest(text: str) -> str:
    return hashlib.blake2b(text.encode(errors="surrogatepass"), digest_size=8).hexdigest()
