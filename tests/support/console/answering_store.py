"""A store that answers, with nothing unless it is told what; and remembers what it was
asked.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, NamedTuple
from zoneinfo import available_timezones

from services.common.errors import StoreRejectedError, StoreUnavailableError
from services.common.store import Store

Rows = list[dict[str, Any]]
_EARLIEST, _LATEST = datetime(1900, 1, 1, tzinfo=UTC), datetime(2300, 1, 1, tzinfo=UTC)


class Asked(NamedTuple):
    """A statement, and what stood for its parameters."""

    sql: str
    parameters: Mapping[str, Any]


def _nothing(_sql: str, _parameters: Mapping[str, Any]) -> Rows:
    return []


@dataclass
class AnsweringStore(Store):
    """Refuses values that ClickHouse refuses: times before 1900 or after 2299, zones that
    it does not know, integers beyond 64 bits, and parameters that are not given.
    """

    url: str = field(default="http://localhost:1/none", repr=False)
    answer: Callable[[str, Mapping[str, Any]], Rows] = _nothing
    is_away: bool = False
    asked: list[Asked] = field(default_factory=list)

    async def query(self, sql: str, parameters: Mapping[str, Any] | None = None) -> Rows:
        """As the store's, without one."""
        given = dict(parameters or {})
        self.asked.append(Asked(sql, given))
        if self.is_away:
            raise StoreUnavailableError("there is none here")
        for name, value in given.items():
            if not _is_taken(name, value):
                raise StoreRejectedError(f"{name} is {value!r}")
        return self.answer(sql, given)

    def tenants_asked_for(self) -> set[str]:
        """Whose rows were asked for; `*` where a statement names no tenant."""
        return {one for asked in self.asked for one in _tenants(asked.parameters)}


def _is_taken(name: str, value: Any) -> bool:
    if isinstance(value, datetime):
        return value.tzinfo is not None and _EARLIEST <= value < _LATEST
    if name == "zone":
        return value in available_timezones()
    return not isinstance(value, int) or -(1 << 63) <= value < 1 << 63


def _tenants(parameters: Mapping[str, Any]) -> Sequence[str]:
    if "tenants" in parameters:
        return list(parameters["tenants"])
    return [parameters.get("only_tenant", parameters.get("tenant", "*"))]
