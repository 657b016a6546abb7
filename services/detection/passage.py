"""One text under inspection, with what several recognisers ask of it computed once."""

import re
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

_LETTERS = re.compile(r"[^\W\d_]+")


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
    """A text, its lower-case form of the same length, and where the words of a
    vocabulary end.

    The text is cut into words once; only words that are there at all are then located,
    with `str.find`. An alternation of a vocabulary's words would cost fifty times as
    much: this is what keeps long hostile texts cheap.
    """

    def __init__(self, text: str) -> None:
        self.text = text
        self.lower = text.replace(
            "İ", "i"
        ).lower()  # the one character whose lower case is longer than itself
        self._hits: dict[Vocabulary, list[int]] = {}

    @cached_property
    def words(self) -> frozenset[str]:
        """Each run of letters of the text, in lower case."""
        return frozenset(_LETTERS.findall(self.lower))

    def hits(self, vocabulary: Vocabulary) -> list[int]:
        """Offsets one past each occurrence of a word of the vocabulary, ascending."""
        found = self._hits.get(vocabulary)
        if found is None:
            present = [
                word
                for first in self.words & vocabulary.by_first_word.keys()
                for word in vocabulary.by_first_word[first]
            ]
            present += [word for stem, word in vocabulary.open_ended if stem in self.lower]
            found = sorted({end for word in present for end in self._ends(word)})
            self._hits[vocabulary] = found
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

    def _ends(self, word: str) -> Iterator[int]:
        """Where a word ends, wherever it stands as a word of its own."""
        stem = word.strip("*")
        any_start, any_end = word.startswith("*"), word.endswith("*")
        text, length = self.lower, len(stem)
        at = text.find(stem)
        while at >= 0:
            end = at + length
            starts_word = any_start or at == 0 or not text[at - 1].isalpha()
            if starts_word and (any_end or end >= len(text) or not text[end].isalpha()):
                yield end
            at = text.find(stem, end)
