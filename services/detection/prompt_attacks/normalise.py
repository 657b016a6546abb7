"""Undo the disguises of a text, and remember where every character came from.

Rules and models read *views* of a prompt: the plain one (case, accents, compatibility
forms, look-alike letters and invisible characters folded), one with leetspeak and
spaced-out letters undone, and one for each piece that was encoded (base64, hex,
escapes, ROT13, reversed). Each view maps a match back to the original text, so that a
verdict can point at what the user really wrote.

All work is capped by `Limits`: a view never reads more than `chars` characters and at
most `decoded` encoded pieces are opened.
"""

import codecs
import re
import unicodedata
from collections.abc import Callable, Iterator, Sequence, Set
from dataclasses import dataclass
from functools import lru_cache
from string import ascii_lowercase

from ahocorasick_rs import BytesAhoCorasick

from services.detection.prompt_attacks.encodings import decoded_pieces
from services.detection.prompt_attacks.lookalikes import LETTERS, segment_words
from services.detection.prompt_attacks.windows import FILLERS

SURROUNDINGS = 160
_TABLE_CHARACTERS = 8192
_LEET = dict(zip("013456789@$!|+", "oieasgtbgasilt", strict=True))
_LEET_WORD = re.compile(
    r"(?<![\w@$|+])(?=[\d@$!|+]*[a-z])[a-z\d@$!|+]*(?:[a-z][\d@$!|+]|[\d@$|+][a-z])[a-z\d@$!|+]*[a-z\d@$|+]"
)
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")
_LEET_SIGN = re.compile(r"[\d@$!|+](?:[a-z]|(?<=[a-z].))")
"""What every disguised word has: a sign beside a letter. Found six times faster."""
_SPACED = re.compile(r"(?<!\w)[^\W_](?:[ .\-_*\\/|~]{1,3}[^\W_](?!\w)){4,200}")
_SPACED_SIGN = re.compile(r"[ .\-_*\\/|~][^\W_][ .\-_*\\/|~]{1,3}[^\W_][ .\-_*\\/|~]")
"""Two letters between separators, of the five at least that `_SPACED` wants."""
_SEPARATORS = re.compile(r"[ .\-_*\\/|~]{2,}")
_BETWEEN = re.compile(r"(?<=\w)[ .\-_*\\/|~](?=\w)")
_STRETCHED = re.compile(r"([a-z])\1{2,}")
_TRIPLES = tuple(letter * 3 for letter in ascii_lowercase)
_WORD = re.compile(r"\w+")
_LETTER_TEXT = re.compile(r"[A-Za-z]{2,}")
_ROT13_HINTS = frozenset(
    {
        "gur",
        "lbhe",
        "vtaber",
        "nyy",
        "cerivbhf",
        "vafgehpgvbaf",
        "flfgrz",
        "cebzcg",
        "ehyrf",
        "erirny",
        "naq",
        "sbetrg",
        "abj",
        "ner",
    }
)
_REVERSED_HINTS = frozenset(
    {
        "erongi",
        "ruoy",
        "lla",
        "suoiverp",
        "snoitcurtsni",
        "metsys",
        "tpmorp",
        "selur",
        "laever",
        "eht",
        "tegrof",
        "drageris",
        "dna",
    }
)
_HINTS = BytesAhoCorasick([hint.encode() for hint in sorted(_ROT13_HINTS | _REVERSED_HINTS)])

_WRITTEN = frozenset({"Lu", "Ll", "Lt", "Lm", "Lo", "Mc", "Me", "Nd", "Nl", "No"})
_PUNCTUATION = {
    "’": "'",
    "‘": "'",
    "ʼ": "'",
    "“": '"',
    "”": '"',
    "„": '"',
    "«": '"',
    "»": '"',
    "–": "-",
    "—": "-",
    "‐": "-",
    "‑": "-",
}


@dataclass(frozen=True, slots=True)
class Limits:
    """How much work a text may cost: characters read, encoded pieces opened, characters
    kept of each piece.
    """

    chars: int = 8192
    decoded: int = 6
    decoded_chars: int = 1024


Stretch = tuple[int, int, int]
"""From where to where it stood before it was edited, and how long it is now."""


@dataclass(frozen=True, slots=True)
class View:
    """One reading of a text: `text[i]` comes from the original's character `offsets[i]`
    (None: the same position), shifted by `base`. What was edited, of which `stretches`
    tell one after the other, comes so from what it was before.
    """

    kind: str
    text: str
    offsets: Sequence[int] | None = None
    base: int = 0
    whole: tuple[int, int] | None = None
    stretches: Sequence[Stretch] = ()

    def span(self, start: int, end: int) -> tuple[int, int]:
        """Where `text[start:end]` stands in the original text: (start, end), end
        exclusive. For a decoded piece: the encoded piece as a whole.
        """
        if self.whole is not None:
            return self.whole
        if self.offsets is None and not self.stretches:
            return self.base + start, self.base + end
        if start >= end:
            here = self.base + (self._origin(start) if start < len(self.text) else 0)
            return here, here
        return self.base + self._origin(start), self.base + self._origin(end - 1) + 1

    def _origin(self, position: int) -> int:
        if self.stretches:
            position = _before(self.stretches, position)
        return position if self.offsets is None else self.offsets[position]


def _before(stretches: Sequence[Stretch], position: int) -> int:
    """Where a character stood before it was edited."""
    for start, end, length in stretches:
        if position < length:
            return min(end - 1, start + position * (end - start) // length)
        position -= length
    raise IndexError(f"the text ends {position + 1} characters earlier")


@dataclass(frozen=True, slots=True)
class Normalised:
    """The views of a text, plain first, and how many characters or words had been
    disguised.

    `clean`: the text in lower case with its accents, for readers that know words as
    people write them; what is invisible is gone.
    """

    views: tuple[View, ...]
    clean: str
    hidden: int = 0
    lookalikes: int = 0
    leet: int = 0

    @property
    def plain(self) -> View:
        """The folded text itself."""
        return self.views[0]


def normalise(text: str, *, limits: Limits | None = None, base: int = 0) -> Normalised:
    """Fold `text` and undo its disguises; `base` is added to every position that the
    views give back.
    """
    bounds = limits or Limits()
    source = text[: bounds.chars]
    folded, offsets, hidden = _fold(source)
    folded, lookalikes = _replace_lookalikes(folded)
    plain = View("plain", folded, offsets, base)
    views = [plain]
    clear, stretches, leet = _undisguise(folded)
    if clear != folded:
        views.append(View("undisguised", clear, offsets, base, stretches=stretches))
    views.extend(_decoded_views(source, bounds, base))
    return Normalised(tuple(views), _clean(source, folded), hidden, lookalikes, leet)


def fold(text: str) -> str:
    """`text` as the plain view has it."""
    return _fold(text)[0]


def _clean(source: str, folded: str) -> str:
    if source.isascii():
        return folded
    composed = unicodedata.normalize("NFKC", source)
    return composed.translate(_CLEAN)


@lru_cache(maxsize=8192)
def clean_character(character: str) -> str:
    """Lower case; '' for what is invisible or stacks accents, a space for control
    characters, tag characters as the ASCII they hide.
    """
    if 0x300 <= ord(character) <= 0x36F:
        return ""
    category = unicodedata.category(character)
    if character in FILLERS:
        return " "
    if category in _WRITTEN or (category == "Mn" and 0x590 <= ord(character) <= 0x1CFF):
        return character.lower().replace("\u0307", "")
    return fold_character(character)


@lru_cache(maxsize=8192)
def fold_character(character: str) -> str:
    """Lower case, compatibility form, no accents; '' for what is invisible, a space for
    control characters, tag characters as the ASCII they hide.
    """
    code = ord(character)
    if character in _PUNCTUATION:
        return _PUNCTUATION[character]
    if 0xE0020 <= code <= 0xE007E:
        return chr(code - 0xE0000).lower()
    category = unicodedata.category(character)
    if character in "\n\t":
        return character
    if category == "Cf" or 0xFE00 <= code <= 0xFE0F or 0xE0100 <= code <= 0xE01EF or code == 0x034F:
        return ""
    if category in ("Cc", "Zs", "Zl", "Zp", "Cs") or character in FILLERS:
        return " "
    return _bare_letter(character)


def _bare_letter(character: str) -> str:
    """The letter without accents; syllables of Hangul and voiced kana stay whole, since
    what marks them is no accent.
    """
    composed = unicodedata.normalize("NFKC", character)
    whole = ord(character) >= 0x0900 and character.isalpha() and not "\u1e00" <= character <= "\u1fff"
    if whole and not composed.isascii():
        return composed.lower()[:8]
    decomposed = unicodedata.normalize("NFKD", character)
    bare = "".join(part for part in decomposed if not unicodedata.combining(part)) or (
        "" if unicodedata.combining(character) else character
    )
    return bare.lower()[:8]


class _Table(dict[int, str]):
    """A translation table that asks for each character once, as it comes; it keeps the
    first 8,192.
    """

    def __init__(self, translate: Callable[[str], str]) -> None:
        super().__init__()
        self._translate = translate

    def __missing__(self, code: int) -> str:
        translated = self._translate(chr(code))
        if len(self) < _TABLE_CHARACTERS:
            self[code] = translated
        return translated


_FOLD = _Table(fold_character)
_CLEAN = _Table(clean_character)


def _fold(text: str) -> tuple[str, list[int] | None, int]:
    """The folded text, the origin of each of its characters (None: one to one), and how
    many characters were invisible.
    """
    if text.isascii():
        return _CONTROL.sub(" ", text).lower(), None, 0
    pieces = {character: fold_character(character) for character in set(text)}
    if all(len(piece) == 1 for piece in pieces.values()):
        return text.translate(_FOLD), None, 0
    folded: list[str] = []
    offsets: list[int] = []
    hidden = 0
    for position, character in enumerate(text):
        piece = pieces[character]
        hidden += not piece and not unicodedata.combining(character)
        folded.append(piece)
        offsets.extend([position] * len(piece))
    return "".join(folded), offsets, hidden


def _replace_lookalikes(text: str) -> tuple[str, int]:
    """Cyrillic, Greek and other letters that look Latin become Latin in words of mixed
    script, and everywhere in a text that is mostly Latin.
    """
    if text.isascii():
        return text, 0
    foreign = sum(map(text.count, LETTERS.keys() & set(text)))
    if not foreign:
        return text, 0
    mostly_latin = sum(character.isascii() and character.isalpha() for character in text) > foreign
    changed = 0

    def latin(match: re.Match[str]) -> str:
        nonlocal changed
        word = match[0]
        replaced = word.translate(_LETTERS)
        if (
            replaced == word
            or not (mostly_latin or any(c.isascii() and c.isalpha() for c in word))
            or not replaced.isascii()
        ):
            return word
        changed += 1
        return replaced

    return re.sub(r"[^\s\x00-\x2f\x3a-\x40\x5b-\x60\x7b-\x7e]+", latin, text), changed


_LETTERS = str.maketrans(LETTERS)


def _undisguise(text: str) -> tuple[str, Sequence[Stretch], int]:
    """Leetspeak words, spaced-out letters and stretched letters made plain; from where in
    `text` they come; how many words that changed.

    What stands more than SURROUNDINGS characters before the first or behind the last
    disguise is left out: the plain view has it.
    """
    edits = sorted(_edits(text))
    if not edits:
        return text, (), 0
    cursor = max(0, edits[0][0] - SURROUNDINGS)
    pieces: list[str] = []
    stretches: list[Stretch] = []
    for start, end, replacement in edits:
        if start < cursor:
            continue
        pieces += (text[cursor:start], replacement)
        stretches += ((cursor, start, start - cursor), (start, end, len(replacement)))
        cursor = end
    last = text[cursor : cursor + SURROUNDINGS]
    pieces.append(last)
    stretches.append((cursor, cursor + len(last), len(last)))
    return "".join(pieces), stretches, len(edits)


def _edits(text: str) -> Iterator[tuple[int, int, str]]:
    for match in _SPACED.finditer(text) if _SPACED_SIGN.search(text) else ():
        spaced = match[0]
        joined = (
            _join_double_spaced(spaced) if "  " in spaced else _BETWEEN.sub("", _SEPARATORS.sub(" ", spaced))
        )
        yield match.start(), match.end(), " ".join(segment_words(word) for word in joined.split())
    if _LEET_SIGN.search(text):
        letters = text
        for sign, letter in _LEET.items():
            letters = letters.replace(sign, letter)
        for match in _LEET_WORD.finditer(text):
            start, end = match.span()
            word = letters[start:end]
            yield start, end, _STRETCHED.sub(r"\1", word) if _STRETCHED.search(word) else word
    for match in _STRETCHED.finditer(text) if any(map(text.__contains__, _TRIPLES)) else ():
        yield match.start(), match.end(), match[1]


def _join_double_spaced(text: str) -> str:
    return " ".join(re.sub(r"\W|_", "", word) for word in re.split(r" {2,}", text))


def _decoded_views(source: str, limits: Limits, base: int) -> list[View]:
    """What the encoded pieces of `source` say, as far as it is readable text."""
    found: list[View] = []
    for piece in decoded_pieces(source):
        if len(found) >= limits.decoded:
            return found
        clean = _fold(piece.text[: limits.decoded_chars])[0]
        found.append(View(piece.kind, clean, whole=(base + piece.start, base + piece.end)))
    whole = (base, base + len(source))
    words = _hinting_words(source[: limits.decoded_chars * 2])
    if len(words & _ROT13_HINTS) >= 2:
        found.append(
            View("rot13", _fold(codecs.decode(source[: limits.decoded_chars], "rot13"))[0], None, base)
        )
    if len(words & _REVERSED_HINTS) >= 2:
        found.append(View("reversed", _fold(source[: limits.decoded_chars][::-1])[0], whole=whole))
    return found


def _hinting_words(source: str) -> Set[str]:
    """The words of a text; none where it has not even the letters of two hints."""
    hints = _HINTS.find_matches_as_indexes(source.lower().encode(errors="replace"), overlapping=True)
    if len({hint for hint, _, _ in hints}) < 2:
        return frozenset()
    return {word.lower() for word in _LETTER_TEXT.findall(source)}
