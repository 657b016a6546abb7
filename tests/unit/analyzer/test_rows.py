"""From records to rows."""

from datetime import UTC, datetime
from decimal import Decimal

import orjson
import pytest

from schemas.envelope import Envelope
from services.analyzer.recorder.rows import InvalidEventError, process_message
from services.analyzer.recorder.tables.dead_letters import DEAD_LETTERED
from services.analyzer.recorder.tables.inference_completed import INFERENCE_COMPLETED
from services.common.bus.coordinates import LogPosition
from tests.support.analyzer.recording import EPOCH, TOPIC, completed

_POSITION = LogPosition(topic=TOPIC, partition=3, offset=77)
_ENVELOPE = Envelope(
    "e1",
    f"tocsin.{TOPIC}",
    "dispatcher/1",
    EPOCH,
    "request-1",
    "acme",
    5,
    "00-" + "a" * 32 + "-" + "b" * 16 + "-01",
)


def _changed(**changes: object) -> bytes:
    return orjson.dumps(orjson.loads(completed(1).encode()) | changes)


def test_process_message_of_a_completed_event_fills_every_column() -> None:
    """Payload, envelope and position end in the columns that are named for them."""
    row = process_message(
        INFERENCE_COMPLETED,
        completed(1, cost_usd=Decimal("0.0000012345678")).encode(),
        _ENVELOPE.to_headers(),
        _POSITION,
    )
    named = dict(zip(INFERENCE_COMPLETED.table.columns, row, strict=True))
    assert named["request_id"] == "request-00000001"
    assert named["cost_usd"] == Decimal("0.000001234568")
    assert named["completed_at"] == completed(1).completed_at
    assert (named["topic"], named["partition"], named["offset"]) == (TOPIC, 3, 77)
    assert (named["source"], named["sequence"], named["event_id"], named["traceparent"]) == (
        "dispatcher/1",
        5,
        "e1",
        "00-" + "a" * 32 + "-" + "b" * 16 + "-01",
    )
    assert named["prompt_text"] is None


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        (b"", "payload"),
        (b"\xff\xfe", "payload"),
        (b"[]", "payload"),
        (_changed(request_id=None), "request_id"),
        (_changed(prompt_tokens=-1), "prompt_tokens is -1"),
        (_changed(completion_tokens=2**32), "completion_tokens is 4294967296"),
        (_changed(attempts=70_000), "attempts is 70000"),
        (_changed(cost_usd="-0.1"), "cost_usd is -0.1"),
        (_changed(cost_usd="1e30"), "cost_usd"),
        (_changed(cost_usd="NaN"), "cost_usd"),
        (_changed(completed_at="2026-11-22T12:00:00"), "completed_at: Input should have timezone info"),
        (_changed(completed_at="0001-01-01T00:00:00Z"), "the year must be"),
        (_changed(outcome="exploded"), "outcome"),
        (_changed(duration_ms=None), "duration_ms"),
        (None, "no value"),
    ],
)
def test_process_message_of_an_invalid_payload_says_what_is_wrong(payload: bytes | None, reason: str) -> None:
    """Each value is checked against its column before it can spoil a block."""
    with pytest.raises(InvalidEventError, match=reason):
        process_message(INFERENCE_COMPLETED, payload, _ENVELOPE.to_headers(), _POSITION)


@pytest.mark.parametrize(
    ("headers", "reason"),
    [
        ([], "ce_id"),
        ([*_ENVELOPE.to_headers(), ("ce_time", b"yesterday")], "cannot be read"),
        ([*_ENVELOPE.to_headers(), ("ce_sequence", b"99999999999999999999")], "sequence is 9"),
        ([*_ENVELOPE.to_headers(), ("ce_time", b"2026-11-22T12:00:00")], "without an offset"),
        ([*_ENVELOPE.to_headers(), ("ce_time", None)], "cannot be read"),
    ],
)
def test_process_message_without_a_readable_envelope_says_what_is_wrong(
    headers: list[tuple[str, bytes]], reason: str
) -> None:
    """Records without a CloudEvents envelope cannot be accounted for."""
    with pytest.raises(InvalidEventError, match=reason):
        process_message(INFERENCE_COMPLETED, completed(1).encode(), headers, _POSITION)


def test_process_message_error_never_holds_the_payload() -> None:
    """What a user wrote must not reach logs through an error message."""
    with pytest.raises(InvalidEventError) as caught:
        process_message(
            INFERENCE_COMPLETED, _changed(prompt_tokens="my secret words"), _ENVELOPE.to_headers(), _POSITION
        )
    assert "secret words" not in str(caught.value)


def test_process_message_of_a_dead_letter_keeps_where_it_came_from() -> None:
    """The origin's place and count make the ledger whole."""
    letter = {
        "topic": TOPIC,
        "partition": 1,
        "offset": 9,
        "key": "k",
        "value": "eA==",
        "headers": [["a", "eA=="]],
        "source": "dispatcher/1",
        "sequence": 4,
        "consumer": "recorder",
        "attempts": 1,
        "error_type": "InvalidEventError",
        "error": "no",
        "failed_at": datetime(2026, 1, 1, tzinfo=UTC).isoformat(),
    }
    row = dict(
        zip(
            DEAD_LETTERED.table.columns,
            process_message(DEAD_LETTERED, orjson.dumps(letter), _ENVELOPE.to_headers(), _POSITION),
            strict=True,
        )
    )
    assert (
        row["origin_topic"],
        row["origin_partition"],
        row["origin_offset"],
        row["origin_source"],
        row["origin_sequence"],
    ) == (
        TOPIC,
        1,
        9,
        "dispatcher/1",
        4,
    )
    assert row["tenant"] == "acme"
