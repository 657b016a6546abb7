"""What a recogniser reports, and how overlapping reports are settled."""

from bisect import bisect_left
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Finding:
    """A stretch of the original text that holds personal data or a secret.

    It carries no value, so that it can be logged; `text[start:end]` is the value.

    Attributes:
        start: first character, counted in the original text.
        end: one past the last character.
        type: label such as EMAIL_ADDRESS or SECRET_JWT.
        score: certainty in [0, 1]; .9 and more means that a checksum or a provider's own format agrees.
        evidence: what convinced the recogniser (checksum, numbering plan, context word), never the value.
    """

    start: int
    end: int
    type: str
    score: float
    evidence: str


def resolve_overlaps(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """Keep, of findings that overlap, the most certain one, then the longest, then the first; sorted by position.

    The order is total, so the same findings in any order give the same result.
    """
    chosen: list[Finding] = []
    starts: list[int] = []
    for finding in sorted(findings, key=lambda f: (-f.score, f.start - f.end, f.start, f.type)):
        slot = bisect_left(starts, finding.start)
        if slot and chosen[slot - 1].end > finding.start:
            continue
        if slot < len(chosen) and chosen[slot].start < finding.end:
            continue
        starts.insert(slot, finding.start)
        chosen.insert(slot, finding)
    return tuple(chosen)
