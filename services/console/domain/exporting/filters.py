"""Conditions on columns, written as `model=llama` or `duration_ms>=5000`. Pure."""

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal, InvalidOperation

from services.console.domain.cost_query import InvalidQueryError
from services.console.domain.moments import EARLIEST, LATEST

MOST_FILTERS = 10
_FILTER = re.compile(r"(\w+)(!=|<=|>=|=|<|>)(.*)", re.DOTALL | re.ASCII)
_INTEGER = re.compile(r"(U?)Int(8|16|32|64)")
_WRAPPED = re.compile(r"(LowCardinality|Nullable|Array)\((.*)\)")


@dataclass(frozen=True, slots=True)
class Condition:
    """SQL over the columns of `source`, and what stands for its parameters."""

    sql: str
    parameters: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class ColumnType:
    """A type without what is around it."""

    name: str
    is_nullable: bool = False
    is_array: bool = False

    @classmethod
    def of(cls, text: str) -> "ColumnType":
        """ClickHouse's name of a type, as `LowCardinality(Nullable(String))`."""
        nullable = array = False
        while found := _WRAPPED.fullmatch(text):
            nullable, array = nullable or found[1] == "Nullable", array or found[1] == "Array"
            text = found[2]
        return cls(text, nullable, array)


def condition(text: str, types: Mapping[str, str], number: int) -> Condition:
    """A filter, of which `number` tells it from others. `types` are the columns that may
    be asked by.

    Of a column that may be NULL, an empty value stands for NULL; != keeps what is NULL.
    A list is equal to a value that it has.

    Raises:
        InvalidQueryError: there is no such column, or the value is not one of its.
    """
    found = _FILTER.fullmatch(text)
    if found is None:
        raise InvalidQueryError(
            "filter", f"filter is {text!r}; use a column, one of = != < <= > >=, and a value."
        )
    column, sign, value = found.groups()
    if column not in types:
        raise InvalidQueryError(
            "filter", f"there is no column {column!r} here; there are {', '.join(types)}."
        )
    kind = ColumnType.of(types[column])
    name = f"source.{column}"
    if kind.is_nullable and not value and sign in ("=", "!="):
        return Condition(f"{name} IS {'' if sign == '=' else 'NOT '}NULL", {})
    if (kind.is_array or kind.name == "Bool") and sign not in ("=", "!="):
        raise InvalidQueryError("filter", f"{column} is {types[column]}: compare it by = or !=.")
    parameter, given = _value(kind.name, value, column)
    placeholder = f"{{filter{number}:{parameter}}}"
    if kind.is_array:
        sql = f"{'' if sign == '=' else 'NOT '}has({name}, {placeholder})"
    else:
        sql = f"{name} {sign} {placeholder}"
    if kind.is_nullable and sign == "!=":
        sql = f"({sql} OR {name} IS NULL)"
    return Condition(sql, {f"filter{number}": given})


def _value(kind: str, text: str, column: str) -> tuple[str, str]:
    """The parameter's type, and the value as ClickHouse reads it."""
    if kind.startswith(("String", "FixedString")):
        return "String", text
    for start, parameter, read in _READ:
        if kind.startswith(start):
            try:
                return parameter, read(text)
            except (ValueError, InvalidOperation, OverflowError) as error:
                raise InvalidQueryError("filter", f"{column} is {kind}, which {text!r} is not.") from error
    if (integer := _INTEGER.fullmatch(kind)) and re.fullmatch(r"-?[0-9]{1,20}", text, re.ASCII):
        low, high = (0, 1 << 64) if integer[1] else (-(1 << 63), 1 << 63)
        if low <= int(text) < high:
            return ("UInt64" if integer[1] else "Int64"), str(int(text))
    raise InvalidQueryError("filter", f"{column} is {kind}, which {text!r} is not.")


def _float(text: str) -> str:
    if not math.isfinite(found := float(text)):
        raise ValueError(text)
    return repr(found)


def _decimal(text: str) -> str:
    found = Decimal(text)
    if not found.is_finite() or abs(found) >= 10**20:
        raise ValueError(text)
    return f"{found:.12f}"


def _bool(text: str) -> str:
    if text.lower() not in ("true", "false"):
        raise ValueError(text)
    return text.lower()


def _moment(text: str) -> str:
    found = datetime.fromisoformat(text.replace(" ", "+"))
    if found.tzinfo is None or not EARLIEST <= found <= LATEST:
        raise ValueError(text)
    return moment_text(found)


def _day(text: str) -> str:
    return date.fromisoformat(text).isoformat()


def moment_text(moment: datetime) -> str:
    """A moment as ClickHouse reads it, to the millisecond."""
    return moment.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S.%f")[:-3]


_READ: tuple[tuple[str, str, Callable[[str], str]], ...] = (
    ("Float", "Float64", _float),
    ("Decimal", "Decimal(38, 12)", _decimal),
    ("Bool", "Bool", _bool),
    ("DateTime", "DateTime64(3, 'UTC')", _moment),
    ("Date", "Date", _day),
)
