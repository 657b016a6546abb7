"""Whether a text repeats a system prompt: runs of its words, and the share of its
n-grams said so far.

Both sides are compared word by word without case, accents and punctuation, so that
quoting, a list's bullets or bold type hide nothing. A translation, a paraphrase or an
encoding is not seen: that is the prompt detector's side.
"""

import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

_MAXIMUM_WORDS = 4096  # of a system prompt; what follows is not watched
_MAXIMUM_PLACES = 64  # of one word; a word that is more frequent than that begins no run
NGRAM = 4


@dataclass(frozen=True, slots=True)
class WatchedPrompt:
    """A system prompt prepared for comparison.

    Attributes:
        words: normalised, in order.
        places: word → where it stands.
        run_words: so many words in a row are a repetition.
        share: so large a share of the n-grams, said anywhere, is one too.
    """

    words: tuple[str, ...] = field(repr=False)
    places: Mapping[str, tuple[int, ...]] = field(repr=False)
    run_words: int
    share: float


@dataclass(frozen=True, slots=True)
class EchoState:
    """What of the prompt the last words continue, and what has been said of it.

    Attributes:
        runs: place in the prompt of the last word → (words in the run, offset where the
            run began).
        said: bit n is set when the n-gram that ends at word n has been said.
    """

    runs: Mapping[int, tuple[int, int]] = field(default_factory=lambda: MappingProxyType({}))
    said: int = 0

    @property
    def longest(self) -> tuple[int, int]:
        """Words in the longest run that the last word belongs to, and the offset where
        it began; (0, -1) for none.
        """
        return max(self.runs.values(), key=lambda run: (run[0], -run[1]), default=(0, -1))


def watch(system_prompt: str, *, run_words: int = 8, share: float = 0.35) -> WatchedPrompt | None:
    """Prepare a system prompt; None for one that is shorter than a run, which holds
    nothing to protect.

    Args:
        system_prompt: as the model gets it.
        run_words: repeated words in a row that count as an echo, at least NGRAM.
        share: of the prompt's n-grams, in (0, 1].
    """
    words = tuple(word for token in system_prompt.split()[:_MAXIMUM_WORDS] if (word := normalise_word(token)))
    if len(words) < max(run_words, NGRAM):
        return None
    places: dict[str, list[int]] = {}
    for place, word in enumerate(words):
        places.setdefault(word, []).append(place)
    rare = {word: tuple(where) for word, where in places.items() if len(where) <= _MAXIMUM_PLACES}
    return WatchedPrompt(words, MappingProxyType(rare), run_words, share)


_MARKS = re.compile(r"[\W_]+")


def normalise_word(token: str) -> str:
    """A word without case, accents and punctuation."""
    if token.isascii():
        return _MARKS.sub("", token).lower() if not token.isalpha() else token.lower()
    letters = unicodedata.normalize("NFKD", token).casefold()
    return _MARKS.sub("", "".join(c for c in letters if not unicodedata.combining(c)))


def advance(prompt: WatchedPrompt, state: EchoState, token: str, offset: int) -> EchoState:
    """The state after one more word, which begins at `offset` of the output;
    punctuation alone changes nothing.
    """
    word = normalise_word(token)
    if not word:
        return state
    size = len(prompt.words)
    runs = {
        place + 1: (length + 1, start)
        for place, (length, start) in state.runs.items()
        if place + 1 < size and prompt.words[place + 1] == word
    }
    for place in prompt.places.get(word, ()):
        runs.setdefault(place, (1, offset))
    said = state.said
    for place, (length, _) in runs.items():
        if length >= NGRAM:
            said |= 1 << place
    return EchoState(MappingProxyType(runs), said)


def share_said(prompt: WatchedPrompt, state: EchoState) -> float:
    """Share of the prompt's n-grams that have been said, in [0, 1]."""
    return state.said.bit_count() / (len(prompt.words) - NGRAM + 1)
