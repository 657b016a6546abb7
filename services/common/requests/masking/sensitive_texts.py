"""What is personal or secret in the texts of a request, and the texts without it. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple

from services.detection.finding import Finding
from services.detection.masking import Finder, Vault, identity_of, mask_all
from services.detection.sensitive import find_sensitive, find_to_keep_out

_SECRET = "SECRET_"  # noqa: S105  the beginning of findings' types


class Hidden(StrEnum):
    """What is masked."""

    NOTHING = "nothing"
    SECRETS = "secrets"
    PERSONAL = "personal"
    EVERYTHING = "everything"
    TO_KEEP = "to_keep"
    """Everything, and what may only stand for a secret: nobody is alarmed by what is
    kept, so it is kept without.
    """

    @classmethod
    def of(cls, *, secrets: bool, personal: bool) -> "Hidden":
        """What two switches come to."""
        if secrets:
            return cls.EVERYTHING if personal else cls.SECRETS
        return cls.PERSONAL if personal else cls.NOTHING

    def covers(self, kind: str) -> bool:
        """Whether a finding of this type is masked."""
        if self in (Hidden.EVERYTHING, Hidden.TO_KEEP):
            return True
        return self is (Hidden.SECRETS if kind.startswith(_SECRET) else Hidden.PERSONAL)


class Found(NamedTuple):
    """A value in a text: its finding's type, and what makes it the same value however it
    is written (`identity_of`).
    """

    type: str
    name: str
    canonical: str

    @property
    def is_secret(self) -> bool:
        """Whether it is a secret, and not personal data."""
        return self.type.startswith(_SECRET)


@dataclass(frozen=True, slots=True)
class Inspected:
    """Texts after an inspection: masked, what the placeholders stand for, and what was
    found in each of the texts as they were.
    """

    texts: tuple[str, ...]
    vault: Vault = field(repr=False)
    found: tuple[tuple[Found, ...], ...] = field(repr=False)


def inspect(texts: Sequence[str], hidden: Hidden) -> Inspected:
    """Masks texts that belong together, with one vault."""
    find = _remembering(find_to_keep_out if hidden is Hidden.TO_KEEP else find_sensitive)
    found = tuple(
        [
            tuple(dict.fromkeys([_found(one, text) for one in find(text)]))  # each value once
            for text in texts
        ]
    )
    if hidden is Hidden.NOTHING or not any(hidden.covers(one.type) for some in found for one in some):
        return Inspected(tuple(texts), Vault(), found)
    shown, vault = mask_all(
        texts, find=lambda text: tuple([one for one in find(text) if hidden.covers(one.type)])
    )
    return Inspected(shown, vault, found)


def _found(finding: Finding, text: str) -> Found:
    return Found(finding.type, *identity_of(finding.type, text[finding.start : finding.end]))


def _remembering(find: Finder) -> Finder:
    """A finder that looks at each text once."""
    known: dict[str, tuple[Finding, ...]] = {}

    def remembering(text: str) -> tuple[Finding, ...]:
        if text not in known:
            known[text] = find(text)
        return known[text]

    return remembering
