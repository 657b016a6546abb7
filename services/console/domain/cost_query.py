"""What is asked about costs, read from text. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Literal, get_args
from zoneinfo import ZoneInfo

from services.common.budgets.periods import start_of_day, zone_names
from services.common.errors import TocsinError
from services.console.domain.moments import EARLIEST, LATEST

Dimension = Literal["tenant", "user", "model", "key", "day"]
DIMENSIONS: tuple[Dimension, ...] = get_args(Dimension)


class InvalidQueryError(TocsinError):
    """A part of the query makes no sense: `name` says which, `problems` what is
    wrong with it.
    """

    def __init__(self, name: str, message: str) -> None:
        super().__init__(message)
        self.name = name
        self.problems = ((name, message),)


@dataclass(frozen=True, slots=True)
class CostQuery:
    """Requests that ended from `since` on, up to but without `until`, by the dimensions
    of `group_by`; days are of `zone`. `only` holds what they have in common: a tenant, a
    user's pseudonym, a model or a key; `keys`, where it is not None, those whose requests
    count, with those that `keyless_user`, a pseudonym, made without a key. At most
    `limit` groups are told, the dearest.
    """

    since: datetime
    until: datetime
    zone: ZoneInfo
    group_by: tuple[Dimension, ...] = ()
    only: Mapping[str, str] = field(default_factory=dict)
    limit: int = 1000
    keys: tuple[str, ...] | None = None
    keyless_user: str = ""


@dataclass(frozen=True, slots=True)
class CostRequest:
    """The query as text. `begin` empty: the last `days` days, today being one; `end`
    empty: now.
    """

    begin: str = ""
    end: str = ""
    days: int = 30
    time_zone: str = "UTC"
    group_by: str = "model"

    def query(self, now: datetime, only: Mapping[str, str], limit: int = 1000) -> CostQuery:
        """What it means now; an empty value of `only` does not count.

        Raises:
            InvalidQueryError: a part of it makes no sense.
        """
        zone = _zone(self.time_zone)
        until = _moment(self.end, zone, "to") if self.end else now
        first_day = now.astimezone(zone).date() - timedelta(days=self.days - 1)
        since = _moment(self.begin, zone, "from") if self.begin else start_of_day(first_day, zone)
        if since >= until:
            raise InvalidQueryError(
                "from", f"from is {since.isoformat()}, which is not before {until.isoformat()}."
            )
        chosen = {name: value for name, value in only.items() if value}
        return CostQuery(since, until, zone, _dimensions(self.group_by), chosen, limit)


def _dimensions(text: str) -> tuple[Dimension, ...]:
    wanted = dict.fromkeys(one.strip() for one in text.split(",") if one.strip())
    for one in wanted:
        if one not in DIMENSIONS:
            raise InvalidQueryError("group_by", f"group_by has {one!r}; use any of {', '.join(DIMENSIONS)}.")
    return tuple(one for one in wanted if one in DIMENSIONS)


def _zone(name: str) -> ZoneInfo:
    if name not in zone_names():
        raise InvalidQueryError(
            "time_zone", f"time_zone {name!r} is unknown; use a name such as Europe/Paris."
        )
    return ZoneInfo(name)


def _moment(text: str, zone: ZoneInfo, name: str) -> datetime:
    """A day's beginning, or a time with its offset; a plus sign may have become a space
    on its way.
    """
    try:
        if len(text) == len("2026-01-01"):
            found = start_of_day(date.fromisoformat(text), zone)
        else:
            found = datetime.fromisoformat(text.replace(" ", "+"))
        moment = found.astimezone(UTC) if found.tzinfo is not None else None
    except (ValueError, OverflowError):
        moment = None
    if moment is None or not EARLIEST <= moment <= LATEST:
        raise InvalidQueryError(
            name,
            f"{name} is {text!r}; use a day like 2026-11-27, or a time like 2026-11-27T08:00:00Z, from "
            f"{EARLIEST.year} to {LATEST.year - 1}.",
        )
    return moment
