"""Server-sent events are read the same however the bytes are cut."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.inference.domain.sse import EventTooLargeError, SseDecoder

STREAM = (
    '\ufeff: warming up\r\n\r\ndata: {"a": "é👩‍🚀"}\r\nid: 4\r\n\r\nevent: x\ndata:one\ndata: '
    "two\n\n\rdata:  three\r\rdata: cut off"
).encode()
EVENTS = ['{"a": "é👩‍🚀"}', "one\ntwo", " three"]


@given(cuts=st.lists(st.integers(0, len(STREAM)), max_size=30))
def test_sse_decoder_any_cuts_gives_the_same_events(cuts: list[int]) -> None:
    """Cuts inside characters, line ends and fields change nothing; comments and an
    unfinished event do not come out.
    """
    decoder = SseDecoder()
    edges = [0, *sorted(cuts), len(STREAM)]
    assert [event for start, end in pairwise(edges) for event in decoder.feed(STREAM[start:end])] == EVENTS


@given(noise=st.binary(max_size=200))
def test_sse_decoder_any_bytes_raises_nothing(noise: bytes) -> None:
    """Garbage is not an error here: what it says is judged by who reads the events."""
    assert all(isinstance(event, str) for event in SseDecoder().feed(noise))


def test_sse_decoder_event_without_end_is_bounded() -> None:
    """An upstream cannot fill the memory with one line."""
    decoder = SseDecoder(limit=100)
    decoder.feed(b"data: " + b"x" * 90)
    with pytest.raises(EventTooLargeError, match="100"):
        decoder.feed(b"x" * 10)
