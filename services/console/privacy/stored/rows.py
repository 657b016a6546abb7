"""Erasing rows of the store: counted, overwritten, counted again."""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import uuid4

from services.common.errors import StoreUnavailableError
from services.common.store import Store
from services.common.store.client import Table
from services.console.privacy.stored.tables import PERSONAL, PersonalRows
from services.console.privacy.subject import Subject

_ERASING = Table("erasing", {"work": "String", "kind": "LowCardinality(String)", "value": "String"})


@dataclass(frozen=True, slots=True)
class Counted:
    """What one round found in one place, what of it was erased, and what stays."""

    found: int = 0
    erased: int = 0
    left: int = 0
    why: str = ""
    until: datetime | None = None


@dataclass(frozen=True)
class Work:
    """One erasure under way in this process: its name in the table `erasing`, whose it
    is, and until when their rows are erased.
    """

    name: str
    subject: Subject
    cut_at: datetime

    @property
    def parameters(self) -> dict[str, Any]:
        """As statements name them."""
        return {"work": self.name, "tenant": self.subject.tenant, "cut": self.cut_at}


@dataclass(frozen=True, slots=True)
class Step:
    """How one place is erased: what is there is counted first, and told, so that a
    receipt is right whatever dies meanwhile. Where a step `repeats` each round counts
    the same anew.
    """

    count: Callable[[Work], Awaitable[int]]
    erase: Callable[[Work], Awaitable[Counted]]
    repeats: bool = False


@dataclass(frozen=True)
class Rows:
    """Overwrites rows of the store."""

    store: Store

    @asynccontextmanager
    async def about(self, work: Work) -> AsyncIterator[None]:
        """Puts into `erasing` whom the work is about, for as long as it lasts. The ids of
        their requests stay what they were where a former round has erased the requests.

        Raises:
            StoreUnavailableError: not now.
        """
        await self.forget(work.name)
        named = [(work.name, "user", one) for one in work.subject.pseudonyms]
        named += [(work.name, "key", one) for one in work.subject.key_ids]
        named += [(work.name, "name", work.subject.user), (work.name, "entry", work.subject.entry_id)]
        await self.store.insert(_ERASING, named, token=uuid4().hex)
        requests = next(one for one in PERSONAL if one.table == "inference_events")
        await self.store.command(
            "INSERT INTO erasing (work, kind, value) SELECT {work:String}, 'request', request_id "  # noqa: S608  names of ours
            f"FROM inference_events WHERE {requests.condition}",
            work.parameters,
        )
        try:
            yield
        finally:
            await self.forget(work.name)

    async def erase(self, rows: PersonalRows, work: Work) -> Counted:
        """Overwrites a subject's rows.

        Raises:
            StoreUnavailableError: not now; some may be overwritten.
        """
        found = await self._count(rows.table, rows.condition, work.parameters)
        if found:
            await self.overwrite(rows.table, rows.values, rows.condition, work.parameters)
        left = await self._count(rows.table, rows.condition, work.parameters) if found else 0
        why = rows.kept if found else ""
        return Counted(found, found - left, left, why if not left else "written meanwhile")

    async def overwrite(
        self, table: str, values: Mapping[str, str], where: str, parameters: Mapping[str, Any]
    ) -> None:
        """Writes other values into rows, and returns once they are on disk.

        Raises:
            StoreUnavailableError: not now, or a former such statement still works.
        """
        busy = await self.store.query(
            "SELECT count() AS mutations FROM system.mutations WHERE database = currentDatabase() AND "
            "table = {table:String} AND NOT is_done AND NOT is_killed",
            {"table": table},
        )
        if busy[0]["mutations"]:
            raise StoreUnavailableError(f"{table} is being changed by an earlier statement")
        assigned = ", ".join(f"`{column}` = {value}" for column, value in values.items())
        await self.store.command(
            f"ALTER TABLE {table} UPDATE {assigned} WHERE {where} SETTINGS mutations_sync = 2",
            parameters,
        )

    async def count_of(self, rows: PersonalRows, work: Work) -> int:
        """How many rows a subject has there.

        Raises:
            StoreUnavailableError: not now.
        """
        return await self._count(rows.table, rows.condition, work.parameters)

    async def count(self, table: str, where: str, parameters: Mapping[str, Any]) -> int:
        """How many rows there are.

        Raises:
            StoreUnavailableError: not now.
        """
        return await self._count(table, where, parameters)

    async def _count(self, table: str, where: str, parameters: Mapping[str, Any]) -> int:
        sql = f"SELECT count() AS found FROM {table} WHERE {where}"  # noqa: S608  names of ours
        return int((await self.store.query(sql, parameters))[0]["found"])

    async def forget(self, works: str) -> None:
        """Empties `erasing` of all works whose names begin so.

        Raises:
            StoreUnavailableError: not now.
        """
        theirs, named = "startsWith(work, {works:String})", {"works": works}
        if await self._count("erasing", theirs, named):
            await self.store.command(
                f"ALTER TABLE erasing DELETE WHERE {theirs} SETTINGS mutations_sync = 2", named
            )


def summed(counts: Iterable[Counted]) -> Counted:
    """Several places as one."""
    some = list(counts)
    return Counted(
        sum(one.found for one in some),
        sum(one.erased for one in some),
        sum(one.left for one in some),
        next((one.why for one in some if one.why), ""),
        max((one.until for one in some if one.until), default=None),
    )
