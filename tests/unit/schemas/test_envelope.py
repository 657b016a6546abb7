"""Trace contexts as they travel in headers."""

import pytest

from schemas.envelope import parse_traceparent, traceparent_of

_GOOD = "00-" + "a" * 32 + "-" + "b" * 16 + "-01"


def test_parse_traceparent_good_from_text_or_bytes_is_text() -> None:
    """HTTP brings text, Kafka bytes."""
    assert parse_traceparent(_GOOD) == parse_traceparent(_GOOD.encode()) == _GOOD


@pytest.mark.parametrize(
    "given", [None, "", "00-aa-bb-01", _GOOD + "\n", _GOOD.upper(), b"\xff" * 55, "é" * 55, "0" * 1_000_000]
)
def test_parse_traceparent_anything_else_is_none(given: str | bytes | None) -> None:
    """What is no trace context is not passed on, however long it is."""
    assert parse_traceparent(given) is None


def test_traceparent_of_headers_without_or_with_one() -> None:
    """Other headers are passed over."""
    assert traceparent_of([("ce_id", b"1")]) is None
    assert traceparent_of([("ce_id", b"1"), ("traceparent", _GOOD.encode())]) == _GOOD
