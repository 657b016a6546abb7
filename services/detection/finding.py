"""What a recogniser reports, and how overlapping reports are settled."""

from bisect import bisect_left
from collections.abc import Iterable
from dataclasses import dataclass

PLACEHOLDER_NAMES = {
    "EMAIL_ADDRESS": "EMAIL",
    "PHONE_NUMBER": "PHONE",
    "CREDIT_CARD": "CARD",
    "IBAN_CODE": "IBAN",
    "US_SSN": "SSN",
    "FR_NIR": "NIR",
    "FR_SIREN": "SIREN",
    "FR_SIRET": "SIRET",
    "UK_NINO": "NINO",
    "IP_ADDRESS": "IP",
    "MAC_ADDRESS": "MAC",
    "PERSON": "NAME",
}
"""What placeholders are called, of kinds that are called otherwise themselves."""


@dataclass(frozen=True, slots=True)
class Finding:
    """A stretch of the original text that holds personal data or a secret.

    It carries no value, so that it can be logged; `text[start:end]` is the value.

    Attributes:
        start: first character, counted in the original text.
        end: one past the last character.
        type: label such as EMAIL_ADDRESS or SECRET_JWT.
        score: certainty in [0, 1]; .9 and more means that a checksum or a provider's
            own format agrees.
        evidence: what convinced the recogniser (checksum, numbering plan, context
            word), never the value.
    """

    start: int
    end: int
    type: str
    score: float
    evidence: str


def is_secret(kind: str) -> bool:
    """Whether findings of this kind are secrets, and not personal data."""
    return kind.startswith("SECRET")


def placeholder_name(kind: str) -> str:
    """What placeholders of this kind are called: EMAIL in [EMAIL_1]."""
    return "SECRET" if is_secret(kind) else PLACEHOLDER_NAMES.get(kind, kind)


def resolve_overlaps(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """Keep, of findings that overlap, the most certain one, then the longest, then the
    first; sorted by position.

    The order is total, so the same findings in any order give the same result. Findings
    that overlap nothing are kept without further ado, which keeps a text of a hundred
    thousand addresses linear.
    """
    kept: list[Finding] = []
    cluster: list[Finding] = []
    reach = -1
    for finding in sorted(findings, key=lambda f: (f.start, f.end, f.type, -f.score)):
        if finding.start >= reach:
            kept += _best(cluster)
            cluster = []
        cluster.append(finding)
        reach = max(reach, finding.end)
    return tuple(kept + _best(cluster))


def _best(cluster: list[Finding]) -> list[Finding]:
    """The findings of a connected cluster that stay, by position."""
    if len(cluster) <= 1:
        return cluster
    chosen: list[Finding] = []
    for finding in sorted(cluster, key=lambda f: (-f.score, f.start - f.end, f.start, f.type)):
        slot = bisect_left(chosen, finding.start, key=lambda f: f.start)
        is_free = (slot == 0 or chosen[slot - 1].end <= finding.start) and (
            slot == len(chosen) or chosen[slot].start >= finding.end
        )
        if is_free:
            chosen.insert(slot, finding)
    return chosen
