"""Messages of other versions: known, unknown, malformed."""

import json
from typing import Any

import pytest
from aiokafka import ConsumerRecord
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from schemas.control import KeyChanged
from schemas.inference import REPLY, STATUS, ReplyBeat
from services.common.bus import MessageReader, Unknown, Unreadable, parse_known
from services.common.process import metrics
from tests.support.bus.records import record

BEAT = ReplyBeat(request_id="r", attempt=1, replica_id="x")
ADAPTERS: list[TypeAdapter[Any]] = [REPLY, STATUS, TypeAdapter(KeyChanged)]


def test_known_kind_is_read_whatever_fields_a_newer_version_added() -> None:
    """Unknown fields are tolerated."""
    newer = json.dumps({**BEAT.model_dump(), "mood": "good"}).encode()
    assert parse_known(REPLY, newer) == BEAT


@pytest.mark.parametrize("adapter", ADAPTERS)
def test_kind_of_a_newer_version_is_unknown(adapter: TypeAdapter[Any]) -> None:
    """Unions and single kinds alike."""
    assert parse_known(adapter, b'{"kind": "from_the_future", "x": 1}') == Unknown("from_the_future")


@pytest.mark.parametrize("value", [None, b"", b"{", b"[]", b'{"kind": "beat"}', b"\xff\xfe", b'{"kind": {}}'])
def test_malformed_value_is_unreadable(value: bytes | None) -> None:
    """Nothing, no JSON, and JSON that lacks what its kind needs."""
    assert isinstance(parse_known(REPLY, value), Unreadable)


@given(
    st.binary(max_size=60)
    | st.recursive(st.none() | st.text(), st.lists).map(lambda x: json.dumps(x).encode())
)
def test_any_value_is_an_answer_and_never_an_exception(value: bytes) -> None:
    """Hostile bytes stop no reader."""
    for adapter in ADAPTERS:
        parsed = parse_known(adapter, value)
        assert isinstance(parsed, Unknown | Unreadable)


def test_reader_counts_what_it_passes_over() -> None:
    """By topic, and by whether a newer version may have meant something."""
    reader = MessageReader(REPLY, "some.topic")
    skipped = [metrics.BUS_SKIPPED.labels("some.topic", why)._value for why in ("unknown_kind", "unreadable")]
    read = [
        reader.read(one)
        for one in _records(BEAT.encode(), b'{"kind": "new"}', b"?", b'{"kind": "new"}', None)
    ]
    assert read == [BEAT, None, None, None, None]
    assert [one.get() for one in skipped] == [2, 2]


def _records(*values: bytes | None) -> list[ConsumerRecord]:
    return [record(value, offset=offset) for offset, value in enumerate(values)]
