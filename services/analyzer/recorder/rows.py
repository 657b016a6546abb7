"""What a record becomes in the store.

Pure: payload, envelope and position in, a row out; no I/O, no clock.

Every value is checked against its column here, so that one bad event costs itself and
not the block that it would have travelled in.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from pydantic import ValidationError

from schemas.dead_letters import DeadLettered
from schemas.envelope import Envelope, EnvelopeError
from schemas.inference import InferenceCompleted
from services.common.bus.coordinates import LogPosition
from services.common.errors import PermanentError
from services.common.store import Table

Row = tuple[Any, ...]

_WORD = "LowCardinality(String)"
_TIME = "DateTime64(3)"
_MEASURE = "Nullable(Float64)"
_LOG = {
    "event_id": "String",
    "source": _WORD,
    "sequence": "Int64",
    "topic": _WORD,
    "partition": "UInt32",
    "offset": "UInt64",
}

INFERENCE_EVENTS = Table(
    "inference_events",
    {
        "completed_at": _TIME,
        "requested_at": _TIME,
        "tenant": _WORD,
        "model": _WORD,
        "request_id": "String",
        "key_id": _WORD,
        "user": "String",
        "kind": _WORD,
        "lane": _WORD,
        "stream": "Bool",
        "outcome": _WORD,
        "finish_reasons": f"Array({_WORD})",
        "error_code": _WORD,
        "attempts": "UInt16",
        "replica_id": _WORD,
        "prompt_tokens": "UInt32",
        "completion_tokens": "UInt32",
        "cost_usd": "Decimal(18, 12)",
        "duration_ms": "Float64",
        "queue_ms": _MEASURE,
        "ttft_ms": _MEASURE,
        "tokens_per_s": _MEASURE,
        "mean_logprob": _MEASURE,
        "prompt_chars": "UInt32",
        "response_chars": "UInt32",
        "prompt_text": "Nullable(String)",
        "response_text": "Nullable(String)",
        "occurred_at": _TIME,
        "traceparent": "String",
        **_LOG,
    },
)

DEAD_LETTERS = Table(
    "dead_letters",
    {
        "failed_at": _TIME,
        "consumer": _WORD,
        "origin_topic": _WORD,
        "origin_partition": "UInt32",
        "origin_offset": "UInt64",
        "origin_source": _WORD,
        "origin_sequence": "Int64",
        "attempts": "UInt16",
        "error_type": _WORD,
        "error": "String",
        "key": "Nullable(String)",
        "value": "String",
        "headers": "Array(Tuple(String, String))",
        "tenant": _WORD,
        **_LOG,
    },
)

_UINT16 = 2**16 - 1
_UINT32 = 2**32 - 1
_UINT64 = 2**64 - 1
_INT64 = 2**63 - 1
_MAX_COST = Decimal(999_999)
_COST_STEP = Decimal(1).scaleb(-12)
_YEARS = range(2020, 2100)
"""What the columns and the tables' TTL can bear: an older row would be deleted at once."""


class InvalidEventError(PermanentError):
    """An event cannot become a row; the message says why."""


RowMaker = Callable[[bytes, Envelope, LogPosition], Row]


@dataclass(frozen=True, slots=True)
class Recording:
    """Where a topic's events go, and how they become rows."""

    table: Table
    make_row: RowMaker


def process_message(
    recording: Recording, payload: bytes | None, headers: Iterable[tuple[str, bytes]], position: LogPosition
) -> Row:
    """The row of one record.

    Raises:
        InvalidEventError: its envelope or its payload is not what its topic carries, or
            a value does not fit its column.
    """
    if payload is None:
        raise InvalidEventError("the record has no value")
    try:
        return recording.make_row(
            payload, Envelope.from_headers((name, value or b"") for name, value in headers), position
        )
    except (EnvelopeError, ValidationError, ValueError) as error:
        raise InvalidEventError(_brief(error)) from error


def inference_event_row(payload: bytes, envelope: Envelope, position: LogPosition) -> Row:
    """The row of an InferenceCompleted, in the order of INFERENCE_EVENTS.

    Raises:
        ValueError: it is not one (pydantic's ValidationError), or a value does not fit
            its column.
    """
    event = InferenceCompleted.model_validate_json(payload)
    if not 0 <= event.cost_usd <= _MAX_COST:
        raise ValueError(f"cost_usd is {event.cost_usd}; it must be 0 to {_MAX_COST}")
    _check("attempts", event.attempts, _UINT16)
    for name in ("prompt_tokens", "completion_tokens", "prompt_chars", "response_chars"):
        _check(name, getattr(event, name), _UINT32)
    return (
        _time("completed_at", event.completed_at),
        _time("requested_at", event.requested_at),
        event.tenant,
        event.model,
        event.request_id,
        event.key_id,
        event.user,
        event.kind,
        event.lane.value,
        event.stream,
        event.outcome.value,
        event.finish_reasons,
        event.error_code or "",
        event.attempts,
        event.replica_id,
        event.prompt_tokens,
        event.completion_tokens,
        event.cost_usd.quantize(_COST_STEP),
        event.duration_ms,
        event.queue_ms,
        event.ttft_ms,
        event.tokens_per_s,
        event.mean_logprob,
        event.prompt_chars,
        event.response_chars,
        event.prompt_text,
        event.response_text,
        _time("ce_time", envelope.occurred_at),
        envelope.traceparent or "",
        *_log(envelope, position),
    )


def dead_letter_row(payload: bytes, envelope: Envelope, position: LogPosition) -> Row:
    """The row of a DeadLettered, in the order of DEAD_LETTERS.

    Raises:
        ValueError: it is not one (pydantic's ValidationError), or a value does not fit
            its column.
    """
    letter = DeadLettered.model_validate_json(payload)
    _check("attempts", letter.attempts, _UINT16)
    _check("partition", letter.partition, _UINT32)
    _check("offset", letter.offset, _UINT64)
    _check("sequence", letter.sequence + 1, _INT64)
    return (
        _time("failed_at", letter.failed_at),
        letter.consumer,
        letter.topic,
        letter.partition,
        letter.offset,
        letter.source,
        letter.sequence,
        letter.attempts,
        letter.error_type,
        letter.error,
        letter.key,
        letter.value,
        letter.headers,
        envelope.tenant,
        *_log(envelope, position),
    )


INFERENCE_COMPLETED = Recording(INFERENCE_EVENTS, inference_event_row)
DEAD_LETTERED = Recording(DEAD_LETTERS, dead_letter_row)


def _log(envelope: Envelope, position: LogPosition) -> Row:
    _check("ce_sequence", envelope.sequence + 1, _INT64)
    return (
        envelope.event_id,
        envelope.source,
        envelope.sequence,
        position.topic,
        position.partition,
        position.offset,
    )


def _check(name: str, value: int, limit: int) -> None:
    if not 0 <= value <= limit:
        raise ValueError(f"{name} is {value}; it must be 0 to {limit}")


def _time(name: str, value: datetime) -> datetime:
    if value.tzinfo is None:
        raise ValueError(f"{name} is {value}, without a time zone; events carry UTC")
    if value.year not in _YEARS:
        raise ValueError(f"{name} is {value}; the year must be {_YEARS.start} to {_YEARS.stop - 1}")
    return value


def _brief(error: Exception) -> str:
    """What was wrong, without the offending values: they may be a user's text."""
    if isinstance(error, ValidationError):
        return "; ".join(
            f"{'.'.join(map(str, one['loc'])) or 'payload'}: {one['msg']}"
            for one in error.errors(include_input=False, include_url=False)[:5]
        )
    return str(error)
