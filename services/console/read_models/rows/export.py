"""Exports views, piece by piece, in three formats."""

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal

from services.common.clock import MonotonicClock, monotonic_s
from services.common.errors import StoreUnavailableError
from services.common.store import StoreMisconfiguredError
from services.common.store.reading import ViewReader
from services.console.domain.exporting.filters import ColumnType
from services.console.domain.exporting.places import Place, Question, Stretch
from services.console.read_models.rows.parquet import ParquetFile
from services.console.read_models.rows.walk import Piece, Walk

Format = Literal["json", "csv", "parquet"]
_FORMS: Mapping[Format, str] = {"json": "JSONEachRow", "csv": "CSV", "parquet": "ArrowStream"}
_COLUMNS = (
    "SELECT table, name, type, comment FROM system.columns "
    "WHERE database = currentDatabase() AND startsWith(table, 'v_') ORDER BY table, position"
)
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.25, 5.0


@dataclass(frozen=True, slots=True)
class Column:
    """A view's column."""

    name: str
    type: str
    comment: str


@dataclass
class Exports:
    """Writes exports: `at_once` of them, `of_tenant` of one tenant's callers.

    A store that dies under way is waited for, `patience_s` at most each time.
    """

    reader: ViewReader
    at_once: int = 4
    of_tenant: int = 2
    patience_s: float = 60.0
    clock: MonotonicClock = monotonic_s
    _under_way: Counter[str] = field(default_factory=Counter, init=False)

    async def columns(self) -> dict[str, list[Column]]:
        """Each view's columns, in order.

        Raises:
            StoreUnavailableError: not now.
        """
        found: dict[str, list[Column]] = {}
        for row in await self.reader.rows(_COLUMNS):
            found.setdefault(row["table"], []).append(Column(row["name"], row["type"], row["comment"]))
        return found

    @contextlib.contextmanager
    def place(self, tenant: str) -> Iterator[str]:
        """A place for one more export of a tenant's caller; what is wrong where there is
        none: `tenant` or `all`, else empty.
        """
        if self._under_way[tenant] >= self.of_tenant:
            yield "tenant"
        elif self._under_way.total() >= self.at_once:
            yield "all"
        else:
            self._under_way[tenant] += 1
            try:
                yield ""
            finally:
                self._under_way[tenant] -= 1

    async def after(self, question: Question, stretch: Stretch, rows: int) -> tuple[int, Place]:
        """How many rows there are in a stretch up to `rows`, and where those end.

        Raises:
            StoreUnavailableError: not now.
        """
        return await self._walk(question, stretch, "json", {}).ends(rows)

    async def pieces(
        self, question: Question, stretch: Stretch, form: Format, types: Mapping[str, str], *, named: bool
    ) -> AsyncGenerator[Piece]:
        """The rows of a stretch. `named`: CSV begins with a line of names.

        Raises:
            StoreUnavailableError: not now, or for longer than the patience.
            ResultTooLargeError: a single row is too large.
        """
        walk = self._walk(question, stretch, form, types)
        if form == "parquet":
            file = ParquetFile()
            async for piece in self._patiently(walk):
                yield piece._replace(data=await asyncio.to_thread(file.add, piece.data))
            yield Piece(await asyncio.to_thread(file.end), 0, walk.end)
            return
        head = (
            (",".join(f'"{name}"' for name in question.columns) + "\n").encode()
            if named and form == "csv"
            else b""
        )
        async for piece in self._patiently(walk):
            yield piece._replace(data=head + piece.data)
            head = b""

    async def _patiently(self, walk: Walk) -> AsyncIterator[Piece]:
        """All pieces; once the first has come, what fails is tried again."""
        pause_s, failing_since, begun = _FIRST_PAUSE_S, 0.0, False
        while True:
            try:
                async for piece in walk.pieces():
                    pause_s, failing_since, begun = _FIRST_PAUSE_S, 0.0, True
                    yield piece
            except StoreMisconfiguredError:
                raise
            except StoreUnavailableError:
                failing_since = failing_since or self.clock()
                if not begun or self.clock() - failing_since > self.patience_s:
                    raise
                await asyncio.sleep(pause_s)
                pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
            else:
                return

    def _walk(self, question: Question, stretch: Stretch, form: Format, types: Mapping[str, str]) -> Walk:
        show = _as_csv if form == "csv" else _as_it_is
        columns = ", ".join(show(name, types.get(name, "")) for name in question.columns)
        return Walk(self.reader, question, stretch.begin, stretch.end, _FORMS[form], columns)


def _as_it_is(name: str, _type: str) -> str:
    return f"source.{name} AS {name}"


def _as_csv(name: str, kind: str) -> str:
    """Text that a spreadsheet would take for a formula is kept from being one."""
    column = ColumnType.of(kind)
    if column.name != "String" or column.is_array:
        return _as_it_is(name, kind)
    begins = f"substring(source.{name}, 1, 1) IN ('=', '+', '-', '@', '\\t', '\\r')"
    return f"if({begins}, concat('\\'', source.{name}), source.{name}) AS {name}"
