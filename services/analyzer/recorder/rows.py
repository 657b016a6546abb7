"""What a record becomes in the store.

Pure: payload, envelope and position in, a row out; no I/O, no clock.

A table is one list of columns, each with its name, its ClickHouse type and the value
that an event has for it. The type also says how a value is checked, so that one bad
event costs itself and not the block that it would have travelled in.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any, Generic, NamedTuple, TypeVar

import orjson
from pydantic import TypeAdapter, ValidationError

from schemas.base import Message
from schemas.envelope import Envelope, EnvelopeError
from services.common.bus.coordinates import Located
from services.common.errors import PermanentError
from services.common.store import Table

Row = tuple[Any, ...]
AnyMessage = TypeVar("AnyMessage", bound=Message)
Source = TypeVar("Source")

WORD = "LowCardinality(String)"
WORDS = "Array(LowCardinality(String))"
TIME = "DateTime64(3, 'UTC')"
MEASURE = "Nullable(Float64)"
PRICE = "Decimal(18, 12)"

_MAX_PRICE = Decimal(999_999)
_PRICE_STEP = Decimal(1).scaleb(-12)
_YEARS = range(2020, 2100)
"""What the columns and the tables' TTL can bear: an older row would be deleted at once."""


class InvalidEventError(PermanentError):
    """An event cannot become a row; the message says why."""


class Recorded(NamedTuple, Generic[AnyMessage]):
    """An event with its envelope and its place in the log."""

    message: AnyMessage
    envelope: Envelope
    position: Located


@dataclass(frozen=True, slots=True)
class Column(Generic[Source]):
    """A column: its name, its ClickHouse type, and the value that a source (an event, a
    row of the audit chain) has for it.
    """

    name: str
    type: str
    value: Callable[[Source], Any]


@dataclass(frozen=True)
class Rows(Generic[Source]):
    """A table, and how a source becomes a row of it."""

    name: str
    columns: tuple[Column[Source], ...]
    table: Table = field(init=False)
    _values: list[Callable[[Source], Any]] = field(init=False, repr=False)
    _checks: list[tuple[int, str, "_Check"]] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        checks = [
            (place, one.name, _CHECKS[one.type])
            for place, one in enumerate(self.columns)
            if one.type in _CHECKS
        ]
        object.__setattr__(self, "table", Table(self.name, {one.name: one.type for one in self.columns}))
        object.__setattr__(self, "_values", [one.value for one in self.columns])
        object.__setattr__(self, "_checks", checks)

    def row(self, source: Source) -> Row:
        """A source's values in the order of the columns.

        Raises:
            ValueError: a value does not fit its column.
        """
        values = [value(source) for value in self._values]
        for place, name, check in self._checks:
            values[place] = check(name, values[place])
        return tuple(values)


@dataclass(frozen=True)
class Recording(Generic[AnyMessage]):
    """Where a topic's events go, and how they become rows."""

    name: str
    model: TypeAdapter[AnyMessage]
    columns: tuple[Column[Recorded[AnyMessage]], ...]
    table: Table = field(init=False)
    row: Callable[[Recorded[AnyMessage]], Row] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        rows = Rows(self.name, self.columns)
        object.__setattr__(self, "table", rows.table)
        object.__setattr__(self, "row", rows.row)


def log_columns() -> tuple[Column[Any], ...]:
    """Where an event was in the log and who counted it: every table ends in these."""
    return (
        Column("event_id", "String", lambda event: event.envelope.event_id),
        Column("source", WORD, lambda event: event.envelope.source),
        Column("sequence", "Int64", lambda event: event.envelope.sequence),
        Column("topic", WORD, lambda event: event.position.topic),
        Column("partition", "UInt32", lambda event: event.position.partition),
        Column("offset", "UInt64", lambda event: event.position.offset),
    )


def process_message(
    recording: Recording[Any],
    payload: bytes | None,
    headers: Iterable[tuple[str, bytes]],
    position: Located,
) -> Row:
    """The row of one record.

    Raises:
        InvalidEventError: its envelope or its payload is not what its topic carries, or
            a value does not fit its column.
    """
    if payload is None:
        raise InvalidEventError("the record has no value")
    try:
        envelope = Envelope.from_headers((name, value or b"") for name, value in headers)
        return recording.row(Recorded(recording.model.validate_json(payload), envelope, position))
    except (EnvelopeError, ValidationError, ValueError) as error:
        raise InvalidEventError(brief(error)) from error


def as_json(messages: Iterable[Message]) -> str:
    """Messages as a JSON array for a String column."""
    return orjson.dumps([one.model_dump(mode="json", exclude_none=True) for one in messages]).decode()


def brief(error: Exception) -> str:
    """What was wrong, without the offending values: they may be a user's text."""
    if isinstance(error, ValidationError):
        return "; ".join(
            f"{'.'.join(map(str, one['loc'])) or 'payload'}: {one['msg']}"
            for one in error.errors(include_input=False, include_url=False)[:5]
        )
    return str(error)


_Check = Callable[[str, Any], Any]


def _within(lowest: int, highest: int) -> _Check:
    def check(name: str, value: int) -> int:
        if not lowest <= value <= highest:
            raise ValueError(f"{name} is {value}; it must be {lowest} to {highest}")
        return value

    return check


def _price(name: str, value: Decimal | None) -> Decimal | None:
    if value is None:
        return None
    if not 0 <= value <= _MAX_PRICE:
        raise ValueError(f"{name} is {value}; it must be 0 to {_MAX_PRICE}")
    return value.quantize(_PRICE_STEP)


def _time(name: str, value: datetime | None) -> datetime | None:
    if value is None:
        return None
    if value.year not in _YEARS:
        raise ValueError(f"{name} is {value}; the year must be {_YEARS.start} to {_YEARS.stop - 1}")
    return value


_CHECKS: dict[str, _Check] = {
    "Int8": _within(-(2**7), 2**7 - 1),
    "UInt8": _within(0, 2**8 - 1),
    "UInt16": _within(0, 2**16 - 1),
    "UInt32": _within(0, 2**32 - 1),
    "UInt64": _within(0, 2**64 - 1),
    "Int64": _within(-1, 2**63 - 1),
    PRICE: _price,
    f"Nullable({PRICE})": _price,
    TIME: _time,
    f"Nullable({TIME})": _time,
}
