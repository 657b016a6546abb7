"""Where one is in a view's rows, and how a cursor says it. Pure."""

import base64
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import orjson

from services.console.domain.cursors import InvalidCursorError
from services.console.domain.exporting.catalogue import View
from services.console.domain.exporting.filters import Condition, moment_text
from services.console.domain.moments import EARLIEST, LATEST

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Place(NamedTuple):
    """Behind the row of this time and these keys; without keys, before all rows of that
    time.
    """

    time: datetime
    keys: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class Stretch:
    """Rows between two places."""

    begin: Place
    end: Place


@dataclass(frozen=True, slots=True)
class Question:
    """Which rows: of a view, of these columns, of one tenant or (empty) all, those that
    `conditions` hold for.
    """

    name: str
    view: View
    columns: tuple[str, ...]
    conditions: tuple[Condition, ...] = ()
    tenant: str = ""

    def where(self, stretch: Stretch, *, is_open: bool = False) -> Condition:
        """The condition of a stretch; an open one is without the row that it ends with."""
        begin, end = stretch.begin, stretch.end
        parts = [f"source.{self.view.time} >= {self._time('begin')}"]
        parameters = {"begin": self._text(begin.time), "end": self._text(end.time)}
        if begin.keys is not None:
            parts.append(f"{self.place} > {self._keys('begin', begin.keys, parameters)}")
        if end.keys is None:
            parts.append(f"source.{self.view.time} < {self._time('end')}")
        else:
            parts.append(f"source.{self.view.time} <= {self._time('end')}")
            sign = "<" if is_open else "<="
            parts.append(f"{self.place} {sign} {self._keys('end', end.keys, parameters)}")
        if self.tenant:
            parts.append("source.tenant = {tenant:String}")
            parameters["tenant"] = self.tenant
        for one in self.conditions:
            parts.append(one.sql)
            parameters |= one.parameters
        return Condition(" AND ".join(parts), parameters)

    @property
    def place(self) -> str:
        """A row's place, as a tuple."""
        return f"({self.order})"

    @property
    def order(self) -> str:
        """What rows are ordered by."""
        return ", ".join([f"source.{self.view.time}", *self.view.place])

    @property
    def backwards(self) -> str:
        """The same order, the newest first."""
        return ", ".join(f"{one} DESC" for one in (f"source.{self.view.time}", *self.view.place))

    def _time(self, name: str) -> str:
        kind = "Date" if self.view.is_daily else "DateTime64(3, 'UTC')"
        return f"{{{name}:{kind}}}"

    def _text(self, moment: datetime) -> str:
        return moment_text(moment)[:10] if self.view.is_daily else moment_text(moment)

    def _keys(self, name: str, keys: Sequence[str], parameters: dict[str, str]) -> str:
        parameters |= {f"{name}_{number}": key for number, key in enumerate(keys)}
        return f"({', '.join([self._time(name), *(f'{{{name}_{one}:String}}' for one in range(len(keys)))])})"


def whole(view: View, since: datetime, until: datetime) -> Stretch:
    """All rows whose time is from `since` on, and before `until`."""
    step = timedelta(days=1) if view.is_daily else timedelta(milliseconds=1)
    return Stretch(Place(_up(since, step)), Place(_up(until, step)))


def place_of(told: Sequence[str]) -> Place:
    """A place as the store tells it: the time in ISO 8601, then the keys."""
    found = datetime.fromisoformat(told[0])
    return Place(found if found.tzinfo else found.replace(tzinfo=UTC), tuple(told[1:]))


def digest_of(*asked: Any) -> str:
    """What a cursor remembers of what was asked, so that it goes on with nothing else."""
    return hashlib.sha256(orjson.dumps(asked)).hexdigest()[:16]


def cursor_of(left: Stretch, digest: str) -> str:
    """A cursor for what is left."""
    begin, end = left.begin, left.end
    told = [digest, _ms(begin.time), begin.keys, _ms(end.time), end.keys]
    return base64.urlsafe_b64encode(orjson.dumps(told)).rstrip(b"=").decode()


def read_cursor(cursor: str, digest: str, keys: int) -> Stretch:
    """What a cursor leaves; `keys` is how many there are in a place of that view.

    Raises:
        InvalidCursorError: it is none, or of another question.
    """
    try:
        padded = cursor + "=" * (-len(cursor) % 4)
        told = orjson.loads(base64.b64decode(padded, altchars=b"-_", validate=True))
        of, begin, begin_keys, end, end_keys = told
        found = Stretch(_place(begin, begin_keys, keys), _place(end, end_keys, keys))
    except (ValueError, TypeError, OverflowError) as error:
        raise InvalidCursorError("cursor: send x-next-cursor as it came, or leave it out") from error
    if of != digest:
        raise InvalidCursorError("cursor: it belongs to another question; ask as before, or leave it out")
    return found


def _place(ms: Any, keys: Any, number: int) -> Place:
    if keys is not None and (len(keys) != number or not all(isinstance(one, str) for one in keys)):
        raise ValueError(keys)
    time = _EPOCH + timedelta(milliseconds=int(ms))
    if not EARLIEST <= time <= LATEST:
        raise ValueError(ms)
    return Place(time, None if keys is None else tuple(keys))


def _ms(moment: datetime) -> int:
    return (moment - _EPOCH) // timedelta(milliseconds=1)


def _up(moment: datetime, step: timedelta) -> datetime:
    found = moment.astimezone(UTC)
    return found + (_EPOCH - found) % step
