"""What a model's output is held against, and what is done about what is found."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Literal

from services.detection.finding import Finding, is_secret
from services.detection.masking import find_placeholders, identity_of
from services.detection.sensitive import find_sensitive
from services.detection.system_prompt_echo import WatchedPrompt, watch

ECHO = "SYSTEM_PROMPT"

Action = Literal["observe", "mask", "cut"]
"""What is done about a finding: it is only reported, replaced, or ends the output."""


@dataclass(frozen=True, slots=True)
class ScanRules:
    """What an output is held against.

    Attributes:
        known: what the user said, by `said`; to say it back is no leak.
        prompt: the watched system prompt, None for none.
        personal: what is done about personal data.
        leaks: what is done about secrets and the system prompt.
        unsaid: placeholders of a masked prompt that stand for what the user did not
            say. Other placeholders are no finding, nor part of one.
    """

    known: frozenset[tuple[str, str]] = field(repr=False)
    prompt: WatchedPrompt | None
    personal: Action = "mask"
    leaks: Action = "mask"
    unsaid: frozenset[str] = frozenset()

    def action(self, kind: str) -> Action:
        """What is done about a finding of this type."""
        return self.leaks if is_secret(kind) or kind == ECHO else self.personal


def scan_rules(
    *,
    system_prompt: str = "",
    user_texts: Iterable[str] = (),
    personal: Action = "mask",
    leaks: Action = "mask",
) -> ScanRules:
    """Prepare a scan: what the user said is found once, the system prompt indexed once."""
    known = frozenset(
        said(*identity_of(f.type, text[f.start : f.end])) for text in user_texts for f in find_sensitive(text)
    )
    return ScanRules(known, watch(system_prompt) if system_prompt else None, personal, leaks)


def said(name: str, canonical: str) -> tuple[str, str]:
    """What makes a value (by `identity_of`) of the output one that the user said; a
    phone number also when the model adds its country code.
    """
    return name, canonical[-8:] if name == "PHONE" else canonical


def outside_placeholders(text: str, findings: Iterable[Finding]) -> Iterator[Finding]:
    """The findings without the placeholders in them: what remains of one is found as
    long as it says anything.
    """
    placeholders = list(find_placeholders(text))
    for finding in findings:
        start = finding.start
        inside = [(a, b) for a, b, _ in placeholders if a < finding.end and b > finding.start]
        for begins, ends in (*inside, (finding.end, finding.end)):
            if any(mark.isalnum() for mark in text[start:begins]):
                yield replace(finding, start=start, end=begins)
            start = max(start, ends)


def unsaid_placeholders(text: str, unsaid: frozenset[str]) -> Iterator[Finding]:
    """The placeholders that stand for what the user did not say."""
    for start, end, placeholder in find_placeholders(text) if unsaid else ():
        if placeholder in unsaid:
            kind = placeholder[1:].rpartition("_")[0]
            yield Finding(start, end, kind, 1.0, "a value that only the prompt's author knows")
