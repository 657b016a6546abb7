"""One text under inspection, with what several recognisers ask of it computed once."""

import re
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterator, Mapping, Set
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate, islice

_LETTERS = re.compile(r"[^\W\d_]+")
_BETWEEN_WORDS = re.compile(r"([\W\d_]+)")

# Marks that typography puts in the stead of ASCII ones, each exactly one character.
_SPACES = "\u00a0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u202f\u205f\u3000"
_HYPHENS = "\u2010\u2011\ufe63\uff0d"
_FULL_WIDTH = dict(zip("０１２３４５６７８９＋（）．／：＠", "0123456789+()./:@", strict=True))
_PLAIN = (*dict.fromkeys(_SPACES, " ").items(), *dict.fromkeys(_HYPHENS, "-").items(), *_FULL_WIDTH.items())
_DASHES = "\u2012\u2013\u2014\u2015\u2212"
_DASH_OF_A_NUMBER = re.compile(
    r"(?<![^\W\d_])[\u2012\u2013\u2212]|(?<=[0-9)])[\u2014\u2015](?=[0-9(])"
)  # between words a dash parts sentences


def plain(text: str) -> str:
    """The text with ASCII spaces, hyphens and digits for typographic and full-width
    ones; of the same length, so that positions stay.
    """
    if text.isascii():
        return text
    for mark, ascii_mark in _PLAIN:
        if mark in text:
            text = text.replace(mark, ascii_mark)
    return _DASH_OF_A_NUMBER.sub("-", text) if any(dash in text for dash in _DASHES) else text


@dataclass(frozen=True, eq=False)
class Vocabulary:
    """Words whose presence near a value says what the value is.

    Attributes:
        words: lower case, several words allowed; a `*` at an end accepts any letters
            there (`téléphon*`, `*password`).
    """

    words: tuple[str, ...]

    @cached_property
    def by_first_word(self) -> dict[str, tuple[str, ...]]:
        """The words without `*`, by their first run of letters."""
        grouped: dict[str, list[str]] = {}
        for word in self.words:
            first = _LETTERS.search(word)
            if first and "*" not in word:
                grouped.setdefault(first.group(), []).append(word)
        return {first: tuple(words) for first, words in grouped.items()}

    @cached_property
    def open_ended(self) -> tuple[tuple[str, str], ...]:
        """The words with a `*`, each after its letters."""
        return tuple((word.strip("*"), word) for word in self.words if "*" in word)


class Passage:
    """A text in plain characters, its lower-case form of the same length, and where the
    words of a vocabulary end.

    The text is cut into words once; only words that are there at all are then located,
    with `str.find`. An alternation of a vocabulary's words would cost fifty times as
    much: this is what keeps long hostile texts cheap.

    Attributes:
        doubtful: whether what may only stand for a secret is one, too.
    """

    def __init__(self, text: str, *, doubtful: bool = False) -> None:
        self.doubtful = doubtful
        self.text = text = plain(text)
        self.lower = text.replace(
            "İ", "i"
        ).lower()  # the one character whose lower case is longer than itself
        self._hits: dict[Vocabulary, list[int]] = {}

    @cached_property
    def present(self) -> Set[str]:
        """The runs of letters of the text, in lower case. Most texts have none that is
        looked for, and where they stand need not be found out.
        """
        return set(_LETTERS.findall(self.lower))

    @cached_property
    def words(self) -> Mapping[str, list[int]]:
        """Where each run of letters of the text, in lower case, ends."""
        parts = _BETWEEN_WORDS.split(self.lower)  # words and what parts them, in turns
        ends: defaultdict[str, list[int]] = defaultdict(list)
        for word, end in zip(parts[::2], islice(accumulate(map(len, parts)), 0, None, 2), strict=True):
            ends[word].append(end)
        ends.pop("", None)
        return dict(ends)

    def hits(self, vocabulary: Vocabulary) -> list[int]:
        """Offsets one past each occurrence of a word of the vocabulary, ascending."""
        found = self._hits.get(vocabulary)
        if found is None:
            ends: set[int] = set()
            for first in vocabulary.by_first_word.keys() & self.present:
                for word in vocabulary.by_first_word[first]:
                    ends.update(self.words[first] if word == first else self._phrase_ends(first, word))
            for stem, word in vocabulary.open_ended:
                if stem in self.lower:
                    ends.update(self._stem_ends(stem, word))
            self._hits[vocabulary] = found = sorted(ends)
        return found

    def last_before(self, vocabulary: Vocabulary, position: int, reach: int) -> int:
        """Where the nearest word that ends within `reach` characters before `position`
        ends, or -1.
        """
        hits = self.hits(vocabulary)
        if not hits:
            return -1
        index = bisect_right(hits, position) - 1
        if index < 0 or hits[index] < position - reach:
            return -1
        return hits[index]

    def has_after(self, vocabulary: Vocabulary, position: int, reach: int) -> bool:
        """Whether a word ends within `reach` characters after `position`."""
        hits = self.hits(vocabulary)
        index = bisect_right(hits, position)
        return index < len(hits) and hits[index] <= position + reach

    def _phrase_ends(self, first: str, phrase: str) -> Iterator[int]:
        """Where a phrase ends that has other marks than the letters of its first word."""
        offset = phrase.index(first) + len(first)
        for first_end in self.words[first]:
            start, end = first_end - offset, first_end - offset + len(phrase)
            if start >= 0 and self.lower.startswith(phrase, start) and not self._goes_on(start, end):
                yield end

    def _goes_on(self, start: int, end: int) -> bool:
        """Whether letters stand right before a start or right after an end."""
        return self.lower[end : end + 1].isalpha() or (start > 0 and self.lower[start - 1].isalpha())

    def _stem_ends(self, stem: str, word: str) -> Iterator[int]:
        """Where a stem ends, wherever it stands as the `*` of its word allows."""
        any_start, any_end = word.startswith("*"), word.endswith("*")
        text, length = self.lower, len(stem)
        at = text.find(stem)
        while at >= 0:
            end = at + length
            starts_word = any_start or at == 0 or not text[at - 1].isalpha()
            if starts_word and (any_end or end >= len(text) or not text[end].isalpha()):
                yield end
            at = text.find(stem, end)
