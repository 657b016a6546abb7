"""Masking of personal data and secrets by typed placeholders, and the way back.

    masked = mask("Write to jean@dupont.fr", Vault())
    masked.text                                    # "Write to [EMAIL_1]"
    restore("I wrote to [EMAIL_1].", masked.vault) # "I wrote to jean@dupont.fr."

A vault belongs to one conversation. In it the same value has the same placeholder, also
when it is written otherwise (a card with other separators, an e-mail address in
capitals). `Masked.original` gives back the very text that was masked, each value as it
stood there; `restore` works on any text, such as the model's answer, and writes a value
as it was first seen. Placeholders that a text already holds are left alone: a number
they take is not given to a value.
"""

import re
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType

from services.detection.finding import PLACEHOLDER_NAMES, Finding, placeholder_name
from services.detection.passage import plain
from services.detection.sensitive import find_sensitive

_PLACEHOLDER = re.compile(r"\[[A-Z][A-Z_]{0,30}_[0-9]{1,6}\]")
PLACEHOLDER_LENGTH = 40  # characters that a placeholder has at most; what a streaming restore holds back
_ROUNDS = 8
_WRITTEN_IN_MANY_WAYS = PLACEHOLDER_NAMES.keys() | {"ADDRESS"}

Finder = Callable[[str], tuple[Finding, ...]]


@dataclass(frozen=True, slots=True)
class Vault:
    """What the placeholders of one conversation stand for.

    Holds the values themselves: keep it out of logs and stores.

    Attributes:
        values: placeholder → the value as it was first written.
        by_identity: (name, canonical value) → placeholder.
        taken: placeholders that texts of the conversation held of their own.
    """

    values: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}), repr=False)
    by_identity: Mapping[tuple[str, str], str] = field(
        default_factory=lambda: MappingProxyType({}), repr=False
    )
    taken: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Replacement:
    """One placeholder in a masked text, and the value in its stead."""

    start: int
    end: int
    value: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Masked:
    """A masked text.

    Attributes:
        text: with placeholders instead of values.
        vault: the conversation's vault, the new values included.
        replacements: by position in `text`.
        findings: what was recognised, by position in the original text.
    """

    text: str
    vault: Vault = field(repr=False)
    replacements: tuple[Replacement, ...]
    findings: tuple[Finding, ...]

    @property
    def original(self) -> str:
        """The text before masking, to the character."""
        parts: list[str] = []
        position = 0
        for replacement in self.replacements:
            parts += (self.text[position : replacement.start], replacement.value)
            position = replacement.end
        return "".join((*parts, self.text[position:]))


def mask(text: str, vault: Vault | None = None, *, find: Finder = find_sensitive) -> Masked:
    """Put a placeholder in the stead of every recognised value, wherever it stands in
    the text.

    A value that is recognised in one place (`my password is …`) is masked in every
    other place too. What only shows once its neighbours are masked is masked in a
    further round, so that masking a masked text changes nothing.

    Args:
        text: any string.
        vault: of the conversation so far; none for a first text.
        find: what recognises; by default personal data and secrets.
    """
    session = _Session(vault or Vault(), text)
    pieces = _split_placeholders(text)
    findings = found = find(text)
    for _ in range(_ROUNDS):
        changed = _replace(pieces, found, session)
        if changed is None:
            break
        pieces = changed
        found = find("".join(piece.shown for piece in pieces))
    return _masked(pieces, session, findings)


def mask_all(
    texts: Sequence[str], vault: Vault | None = None, *, find: Finder = find_sensitive
) -> tuple[tuple[str, ...], Vault]:
    """Mask the texts of a conversation, in their order, with one vault.

    A value that one of them gives away is masked in all of them, also where nothing but
    the other text tells that it is one. Placeholders that a text holds of its own are
    left alone in all, whichever comes first: none of them is given to a value.

    Returns:
        The masked texts, and the vault afterwards.
    """
    vault = vault or Vault()
    own = {found for text in texts for found in _PLACEHOLDER.findall(text)}
    vault = replace(vault, taken=vault.taken | (own - vault.values.keys()))
    masked = []
    for text in texts:
        done = mask(text, vault, find=find)
        vault = done.vault
        masked.append(done.text)
    return tuple(_mask_known(text, vault) for text in masked), vault


def find_placeholders(text: str) -> Iterator[tuple[int, int, str]]:
    """Where a text has something of a placeholder's form, `(start, end, placeholder)`."""
    return ((match.start(), match.end(), match.group()) for match in _PLACEHOLDER.finditer(text))


def restore(text: str, vault: Vault) -> str:
    """Put the values back in the stead of the vault's placeholders; others stay as they
    are.
    """
    return _PLACEHOLDER.sub(lambda match: vault.values.get(match.group(), match.group()), text)


@dataclass(frozen=True, slots=True)
class RestoreState:
    """The end of a stream that may be the beginning of a placeholder: at most
    `PLACEHOLDER_LENGTH` characters.
    """

    held: str = ""


_BEGINNING = re.compile(r"\[(?:[A-Z][A-Z_]{0,30}(?:(?<=_)[0-9]{1,6})?)?\Z")


def restore_chunk(state: RestoreState, chunk: str, vault: Vault) -> tuple[RestoreState, str]:
    """Restore one chunk of a stream: the new state, and the text that can be given out.

    The pieces given out and `restore_end` of the last state make `restore` of the
    whole, however it was cut.
    """
    text = state.held + chunk
    at = text.rfind("[", max(0, len(text) - PLACEHOLDER_LENGTH))
    if at < 0 or not _BEGINNING.match(text, at):
        at = len(text)
    return RestoreState(text[at:]), restore(text[:at], vault)


def restore_end(state: RestoreState, vault: Vault) -> str:
    """What a stream held back when it ended."""
    return restore(state.held, vault)


def identity_of(kind: str, value: str) -> tuple[str, str]:
    """What makes two values one: the name that its placeholders bear, and the canonical
    form.
    """
    return placeholder_name(kind), canonical(kind, value)


def canonical(kind: str, value: str) -> str:
    """The form in which two ways of writing one value are equal: no separators in
    numbers, one case where case says nothing.
    """
    value = plain(value) if kind in _WRITTEN_IN_MANY_WAYS else value
    if kind in ("EMAIL_ADDRESS", "MAC_ADDRESS", "IP_ADDRESS"):
        value = value.casefold()
        return re.sub(r"[:.-]", "", value) if kind == "MAC_ADDRESS" else value
    if kind in ("CREDIT_CARD", "IBAN_CODE", "US_SSN", "FR_NIR", "FR_SIREN", "FR_SIRET", "UK_NINO"):
        return re.sub(r"[\s./()-]", "", value).upper()
    if kind == "PHONE_NUMBER":
        digits = re.sub(r"[^0-9+]", "", value.replace("(0)", ""))
        return "+" + digits[2:] if digits.startswith("00") else digits
    if kind in ("ADDRESS", "PERSON"):
        return " ".join(value.replace(",", " ").casefold().split())
    return value


@dataclass(frozen=True, slots=True)
class _Piece:
    """A stretch of the text: as it was written, and as it is shown.

    A masked one is never looked into again.
    """

    written: str
    shown: str
    is_masked: bool


class _Session:
    """The vault while one text is being masked."""

    def __init__(self, vault: Vault, text: str) -> None:
        self.vault = vault
        self.values = dict(vault.values)
        self.by_identity = dict(vault.by_identity)
        self.taken = vault.taken | (frozenset(_PLACEHOLDER.findall(text)) - vault.values.keys())
        self._next: dict[str, int] = {}

    def placeholder(self, kind: str, value: str) -> str:
        """The placeholder of a value, given out now if it is new."""
        identity = identity_of(kind, value)
        known = self.by_identity.get(identity)
        if known is None:
            known = self._unused(identity[0])
            self.by_identity[identity] = known
            self.values[known] = value
        return known

    def _unused(self, name: str) -> str:
        number = self._next.get(name) or 1 + sum(known.startswith(f"[{name}_") for known in self.values)
        while (candidate := f"[{name}_{number}]") in self.values or candidate in self.taken:
            number += 1
        self._next[name] = number + 1
        return candidate

    def result(self) -> Vault:
        """The vault afterwards."""
        return Vault(MappingProxyType(self.values), MappingProxyType(self.by_identity), self.taken)


def _mask_known(text: str, vault: Vault) -> str:
    """Put their placeholders in the stead of a vault's values, where they stand as words
    of their own.
    """
    if not vault.values:
        return text
    placeholder_of = {value: placeholder for placeholder, value in vault.values.items()}
    anchors = _anchors(placeholder_of)
    shown: list[str] = []
    for piece in _split_placeholders(text):
        position = 0
        for start, end in () if piece.is_masked else _repeated(piece.written, anchors, []):
            shown += (piece.written[position:start], placeholder_of[piece.written[start:end]])
            position = end
        shown.append(piece.shown[position:])
    return "".join(shown)


def _split_placeholders(text: str) -> list[_Piece]:
    """The text's own placeholders, and those of an earlier masking, set apart as they
    are.
    """
    return _pieces(text, list(find_placeholders(text)))


def _pieces(text: str, masked: list[tuple[int, int, str]]) -> list[_Piece]:
    """A text cut at its masked stretches `(start, end, shown)`, which are in order and
    apart.
    """
    pieces, position = [], 0
    for start, end, shown in masked:
        if start > position:
            pieces.append(_Piece(text[position:start], text[position:start], is_masked=False))
        pieces.append(_Piece(text[start:end], shown, is_masked=True))
        position = end
    if position < len(text):
        pieces.append(_Piece(text[position:], text[position:], is_masked=False))
    return pieces


def _by_piece(found: tuple[Finding, ...], pieces: list[_Piece]) -> dict[int, list[Finding]]:
    """The findings that lie within one open piece, by the piece's index; those that
    touch a placeholder are left out.
    """
    placed: dict[int, list[Finding]] = {}
    index, start = 0, 0
    for finding in found:
        while index < len(pieces) and start + len(pieces[index].shown) <= finding.start:
            start += len(pieces[index].shown)
            index += 1
        if (
            index < len(pieces)
            and not pieces[index].is_masked
            and finding.end <= start + len(pieces[index].shown)
        ):
            placed.setdefault(index, []).append(
                replace(finding, start=finding.start - start, end=finding.end - start)
            )
    return placed


def _replace(pieces: list[_Piece], found: tuple[Finding, ...], session: _Session) -> list[_Piece] | None:
    """The pieces with every recognised value masked; None when there is nothing to
    mask.
    """
    placed = _by_piece(found, pieces)
    if not placed:
        return None
    kinds = {
        pieces[index].written[f.start : f.end]: f.type for index, findings in placed.items() for f in findings
    }
    anchors = _anchors(kinds)
    result: list[_Piece] = []
    for index, piece in enumerate(pieces):
        if piece.is_masked:
            result.append(piece)
            continue
        spans = [(f.start, f.end, f.type) for f in placed.get(index, [])]
        spans += [
            (start, end, kinds[piece.written[start:end]])
            for start, end in _repeated(piece.written, anchors, spans)
        ]
        masked = [
            (start, end, session.placeholder(kind, piece.written[start:end]))
            for start, end, kind in sorted(spans)
        ]
        result.extend(_pieces(piece.written, masked))
    return result


_WORD = re.compile(r"\w+")


def _anchors(values: Iterable[str]) -> dict[str, list[tuple[str, int]]]:
    """Values by their first word, each with the word's offset in it; the longest first."""
    anchors: dict[str, list[tuple[str, int]]] = {}
    for value in sorted(values, key=len, reverse=True):
        word = _WORD.search(value)
        if word:
            anchors.setdefault(word.group(), []).append((value, word.start()))
    return anchors


def _repeated(
    text: str, anchors: Mapping[str, list[tuple[str, int]]], spans: list[tuple[int, int, str]]
) -> Iterator[tuple[int, int]]:
    """Where known values stand again as words of their own, outside the spans that are
    known already.
    """
    claimed = sorted(spans)
    done = 0
    for word in _WORD.finditer(text):
        for value, offset in anchors.get(word.group(), ()):
            start = word.start() - offset
            end = start + len(value)
            is_whole = not (value[-1].isalnum() and text[end : end + 1].isalnum())
            if start >= done and is_whole and text.startswith(value, start) and _is_free(claimed, start, end):
                yield start, end
                done = end
                break


def _is_free(claimed: list[tuple[int, int, str]], start: int, end: int) -> bool:
    """Whether no claimed span overlaps this one."""
    after = bisect_left(claimed, (end,))
    return after == 0 or claimed[after - 1][1] <= start


def _masked(pieces: list[_Piece], session: _Session, findings: tuple[Finding, ...]) -> Masked:
    replacements, position = [], 0
    for piece in pieces:
        end = position + len(piece.shown)
        if piece.is_masked and piece.shown != piece.written:
            replacements.append(Replacement(position, end, piece.written))
        position = end
    return Masked("".join(piece.shown for piece in pieces), session.result(), tuple(replacements), findings)
