"""What is personal or secret in the texts of a request, and the texts without it. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple

from services.detection.finding import Finding, is_secret
from services.detection.masking import Finder, Vault, identity_of, mask_all
from services.detection.sensitive import find_sensitive, find_to_keep_out


class MaskScope(StrEnum):
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
    def of(cls, *, secrets: bool, personal: bool) -> "MaskScope":
        """What two switches come to."""
        if secrets:
            return cls.EVERYTHING if personal else cls.SECRETS
        return cls.PERSONAL if personal else cls.NOTHING

    def covers(self, kind: str) -> bool:
        """Whether a finding of this type is masked."""
        if self in (MaskScope.EVERYTHING, MaskScope.TO_KEEP):
            return True
        return self is (MaskScope.SECRETS if is_secret(kind) else MaskScope.PERSONAL)


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
        return is_secret(self.type)


@dataclass(frozen=True, slots=True)
class MaskedTexts:
    """Texts without what was masked, what the placeholders stand for, and what was found
    in each of the texts as they were.
    """

    texts: tuple[str, ...]
    vault: Vault = field(repr=False)
    found: tuple[tuple[Found, ...], ...] = field(repr=False)


def mask_texts(texts: Sequence[str], scope: MaskScope) -> MaskedTexts:
    """Masks texts that belong together, with one vault."""
    find = _remembering(find_to_keep_out if scope is MaskScope.TO_KEEP else find_sensitive)
    found = tuple(
        [
            tuple(dict.fromkeys([_found(one, text) for one in find(text)]))  # each value once
            for text in texts
        ]
    )
    if scope is MaskScope.NOTHING or not any(scope.covers(one.type) for some in found for one in some):
        return MaskedTexts(tuple(texts), Vault(), found)
    shown, vault = mask_all(
        texts, find=lambda text: tuple([one for one in find(text) if scope.covers(one.type)])
    )
    return MaskedTexts(shown, vault, found)


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
