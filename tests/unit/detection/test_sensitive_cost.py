"""Hostile texts: nothing raises, and work grows with the length, counted in steps
rather than in time.
"""

import sys
from itertools import pairwise
from types import FrameType
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.detection.masking import mask
from services.detection.passage import Passage
from services.detection.personal_data import birth
from services.detection.sensitive import find_sensitive
from tests.unit.detection.sensitive_texts import hostile, texts


def steps(text: str) -> int:
    """Lines of Python that an inspection runs: a measure of work that the machine's
    load does not touch. What the collector of garbage runs meanwhile is not counted.
    """
    count = 0

    def trace(frame: FrameType, event: str, _argument: Any) -> Any:
        nonlocal count
        if not any(part in frame.f_code.co_filename for part in _COUNTED):
            return None
        count += event == "line"
        return trace

    sys.settrace(trace)
    try:
        find_sensitive(text)
    finally:
        sys.settrace(None)
    return count


_COUNTED = ("/services/detection/", "/phonenumbers/")
SMALL, LARGE = hostile(2_000), hostile(8_000)


@pytest.mark.parametrize("name", sorted(SMALL))
def test_hostile_text_four_times_as_long_costs_about_four_times_as_much(name: str) -> None:
    """No text makes the number of steps grow faster than its length."""
    for text in (SMALL[name], LARGE[name]):
        find_sensitive(text)  # tables load on first use
    assert steps(LARGE[name]) <= 5 * steps(SMALL[name]) + 6 * len(LARGE[name])


class CountedText(str):
    """A text that adds up how much of it is counted through."""

    __slots__ = ()
    looked_through = 0

    def count(self, sub: str, start: Any = 0, end: Any = None, /) -> int:
        first, last, _ = slice(start, end).indices(len(self))
        type(self).looked_through += max(0, last - first)
        return super().count(sub, start, end)


@pytest.mark.parametrize("unit", ["born 4111 ", "né le 12:", "née, 7 "])
def test_words_of_birth_in_one_long_line_look_through_little_each(unit: str) -> None:
    """A line without end is no heading: its cells are not counted, word by word."""
    passage = Passage(unit * 1_000)
    passage.lower = CountedText(passage.lower)
    CountedText.looked_through = 0
    assert not [one for one in birth.recognise(passage) if one.end - one.start > 12]
    assert CountedText.looked_through <= 100 * len(passage.lower)


@pytest.mark.parametrize(
    "unit",
    ["xxx75001 Paris avenue ", "é75001 Lyon rue Cedex ", "rue 69003 Lyon-Sud le Port, 4000 Liège quai "],
)
def test_address_is_no_longer_than_people_write_them(unit: str) -> None:
    """What looks like one town's name after another is not read on to the text's end, way
    after way.
    """
    assert max(one.end - one.start for one in find_sensitive(unit * 60)) <= 200


@given(st.one_of(st.text(max_size=400), st.binary(max_size=400).map(lambda b: b.decode("latin-1")), texts()))
@settings(max_examples=200, deadline=None)
def test_any_text_is_inspected_without_raising(text: str) -> None:
    """Findings lie within the text, in order and apart."""
    findings = find_sensitive(text, with_names=True)
    assert all(0 <= f.start < f.end <= len(text) and 0 < f.score <= 1 for f in findings)
    assert all(a.end <= b.start for a, b in pairwise(findings))


def test_megabyte_of_addresses_and_of_rubbish_is_masked() -> None:
    """Long texts go through, dense with values or with none."""
    dense = "jean.dupont@exemple.fr 4111 1111 1111 1111\n" * 3_000
    masked = mask(dense)
    assert masked.text == "[EMAIL_1] [CARD_1]\n" * 3_000
    assert masked.original == dense
    assert find_sensitive("\0\x9f" * 500_000) == ()
