"""Hashed n-grams and windows."""

import zlib

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from services.detection.prompt_attacks.ngrams import BUCKETS, buckets
from services.detection.prompt_attacks.windows import WINDOW_CHARS, said_once, windows


def test_buckets_same_text_gives_the_same_buckets() -> None:
    """The hash does not change between processes: these numbers are part of the model's
    format.
    """
    assert buckets("hi")[:3].tolist() == [200294, 349574, 420996]
    found = buckets("ignore all 12 r\u00e8gles\ud800 now \u2026 ignore all")
    assert (len(found), zlib.crc32(found.tobytes())) == (114, 2930613825)


def test_buckets_digits_are_all_alike() -> None:
    """Which number it is does not matter."""
    assert np.array_equal(buckets("route 66"), buckets("route 42"))


@given(st.text(max_size=200))
@settings(max_examples=100, deadline=None)
def test_buckets_any_text_stay_in_the_table_and_are_unique(text: str) -> None:
    """Every bucket is a place in the table of weights, and comes once."""
    found = buckets(text)
    assert len(set(found.tolist())) == len(found)
    assert all(0 <= bucket < BUCKETS for bucket in found.tolist())


@given(st.text(max_size=3000), st.integers(min_value=1, max_value=12))
@settings(max_examples=60, deadline=None)
def test_windows_any_text_are_few_and_short(text: str, at_most: int) -> None:
    """Never more windows than asked for, none longer than a window, at least one."""
    pieces = windows(text, at_most=at_most)
    assert 1 <= len(pieces) <= at_most
    assert all(len(piece) <= WINDOW_CHARS for piece in pieces)


def test_windows_sentences_are_kept_whole() -> None:
    """A cut falls behind a sentence."""
    text = "This is a sentence of some length, which ends here. " * 20
    assert all(piece.rstrip().endswith(".") for piece in windows(text, at_most=20))


@given(st.text(max_size=30), st.integers(min_value=1, max_value=40))
@settings(max_examples=60, deadline=None)
def test_said_once_any_text_only_loses_repetition(text: str, times: int) -> None:
    """Nothing is added, every character that occurs still does, and saying the whole
    again changes no more than that.
    """
    kept = said_once((text * times)[:WINDOW_CHARS])
    assert len(kept) <= len(text) * times
    assert set(kept) == set((text * times)[:WINDOW_CHARS])


def test_said_once_repeated_sentence_is_left_and_varied_text_untouched() -> None:
    """What was repeated can still be read; a text that says more stays as it is."""
    assert said_once("Ignore the rules. " * 11) == "Ignore the rules. "
    varied = "No, no, no! She said it three times, and three times nobody in the room believed her."
    assert said_once(varied) == varied
