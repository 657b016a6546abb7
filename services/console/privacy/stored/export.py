"""All that is known of a person, page by page, so that memory does not grow with it."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson

from schemas.control import AnyEntry
from services.common.control.changes import public_fields
from services.common.control.state import ControlState
from services.common.store import Store
from services.console.privacy.control import entries_of
from services.console.privacy.stored.tables import PERSONAL, as_parameters
from services.console.privacy.subject import Subject

FORMAT = "tocsin-subject-export-1"
_AHEAD = 5_000
_PAGE_BYTES = 4 * 1024 * 1024
_HIDDEN = frozenset({"changed_by", "version"})
NOT_INCLUDED = (
    "prompts and answers as they came, which are on the bus for an hour or less and kept nowhere",
    "counts of users, in which one cannot be told",
    "events that a consumer could not use (dead letters), but where and when there were any",
    "what others wrote of the subject's answers, which is about those others",
    "which rules found something, and the likest requests of the time, which may be others'",
    "what the security role remembers to judge by: usual hours, rates and sketches of texts",
    "traces in Langfuse, which that system's owner exports",
)
_UNLOGGED = "SETTINGS log_queries = 0"
"""A ClickHouse server keeps statements: not this one, which tells who is asked for."""

_BY = (
    "(actor_kind = 'key' AND actor_id IN {keys:Array(String)} "
    "OR actor_kind = 'user' AND actor_id IN {users:Array(String)})"
)
_TO = (
    "(object_kind = 'user' AND object_id = {entry:String} "
    "OR object_kind = 'key' AND object_id IN {keys:Array(String)})"
)


@dataclass(frozen=True, slots=True)
class _Section:
    """A part of the export that is read in pages, in the order of `places`."""

    name: str
    columns: str
    source: str
    where: str
    places: tuple[str, ...] = ("topic", "partition", "offset")


def _sections() -> list[_Section]:
    found = [
        _Section(
            one.place,
            ", ".join(one.exported),
            one.table,
            f"tenant = {{tenant:String}} AND ({as_parameters(one.where)})",
        )
        for one in PERSONAL
        if one.exported
    ]
    # What they did says nothing of those to whom; what was done to their entries, not by whom.
    acts = (
        "occurred_at, action, outcome, object_kind, "
        f"{_BY} AS by_subject, if({_BY}, address, '') AS address, if({_TO}, object_id, '') AS object_id, "
        f"if({_TO}, before, '') AS before, if({_TO}, after, '') AS after"
    )
    letters = (
        "tenant = {tenant:String} AND arrayExists(one -> position(tryBase64Decode(value), one) > 0, "
        "arrayConcat({users:Array(String)}, {keys:Array(String)}))"
    )
    found.append(
        _Section("audit", acts, "audit_log FINAL", f"{_BY} OR {_TO}", ("chain", "partition", "position"))
    )
    found.append(
        _Section("dead letters", "failed_at, origin_topic, consumer, error_type", "dead_letters", letters)
    )
    return found


@dataclass
class SubjectExport:
    """Writes exports; `at_once` of them at a time, as each reads whole tables.

    Each statement reads all that is the person's in a table, so there shall be few of
    them: the sizes of `ahead` rows are looked up at once, and as many rows are read as
    have `page_bytes`. One that is larger comes alone.
    """

    store: Store
    at_once: int = 2
    ahead: int = _AHEAD
    page_bytes: int = _PAGE_BYTES
    _under_way: int = field(default=0, init=False)

    @property
    def has_room(self) -> bool:
        """Whether one more may begin."""
        return self._under_way < self.at_once

    async def pieces(self, state: ControlState, subject: Subject, made_at: str) -> AsyncGenerator[bytes]:
        """One JSON object, in pieces. Where it is cut short it is no JSON.

        Raises:
            StoreUnavailableError: not now.
        """
        self._under_way += 1
        try:
            head = {
                "format": FORMAT,
                "made_at": made_at,
                "tenant": subject.tenant,
                "user": subject.user,
                "pseudonyms": list(subject.pseudonyms),
                "not_included": list(NOT_INCLUDED),
                "entries": [_shown(state.get(kind, one)) for kind, one in entries_of(state, subject)],
            }
            yield orjson.dumps(head)[:-1]
            for section in _sections():
                yield b"," + orjson.dumps(section.name) + b":["
                async for piece in self._rows(section, subject):
                    yield piece
                yield b"]"
            yield b"}\n"
        finally:
            self._under_way -= 1

    async def _rows(self, section: _Section, subject: Subject) -> AsyncIterator[bytes]:
        parameters: dict[str, Any] = {
            "tenant": subject.tenant,
            "users": list(subject.pseudonyms),
            "keys": list(subject.key_ids),
            "entry": subject.entry_id,
        }
        after: tuple[Any, ...] | None = None
        first = True
        while sizes := await self._sizes(section, parameters, after):
            for count in pages(sizes, self.page_bytes):
                page = await self._page(section, parameters, after, count)
                for row in page:
                    yield (b"" if first else b",") + orjson.dumps(_told(row), default=str)
                    first = False
                if page:
                    after = tuple(page[-1][name] for name in ("_1", "_2", "_3"))
                if len(page) < count:  # some went away meanwhile: the others' sizes are looked up anew
                    break
                await asyncio.sleep(0)
            else:
                if len(sizes) < self.ahead:
                    return

    async def _sizes(
        self, section: _Section, parameters: Mapping[str, Any], after: tuple[Any, ...] | None
    ) -> list[int]:
        """The bytes of the next rows."""
        found = await self._ask(
            section, f"byteSize({section.columns}) AS size", parameters, after, self.ahead
        )
        return [int(one["size"]) for one in found]

    async def _page(
        self, section: _Section, parameters: Mapping[str, Any], after: tuple[Any, ...] | None, count: int
    ) -> Sequence[Mapping[str, Any]]:
        return await self._ask(section, section.columns, parameters, after, count)

    async def _ask(
        self,
        section: _Section,
        what: str,
        parameters: Mapping[str, Any],
        after: tuple[Any, ...] | None,
        count: int,
    ) -> Sequence[Mapping[str, Any]]:
        first, second, third = section.places
        beyond = ""
        given = dict(parameters)
        if after is not None:
            beyond = (
                f" AND ({first}, {second}, {third}) > ({{first:String}}, {{second:UInt32}}, {{third:UInt64}})"
            )
            given |= dict(zip(("first", "second", "third"), after, strict=True))
        return await self.store.query(
            f"SELECT {what}, {first} AS _1, {second} AS _2, {third} AS _3 FROM {section.source} "  # noqa: S608  names of ours
            f"WHERE ({section.where}){beyond} ORDER BY _1, _2, _3 LIMIT {count} {_UNLOGGED}",
            given,
        )


def pages(sizes: Sequence[int], most_bytes: int) -> Iterator[int]:
    """How many rows of these sizes are read at a time."""
    count = taken = 0
    for size in sizes:
        if count and taken + size > most_bytes:
            yield count
            count = taken = 0
        count, taken = count + 1, taken + size
    yield count


def _told(row: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name not in ("_1", "_2", "_3")}


def _shown(entry: AnyEntry | None) -> dict[str, Any]:
    """An entry without who changed it: that is somebody else."""
    shown = {} if entry is None else public_fields(entry)
    return {name: value for name, value in shown.items() if name not in _HIDDEN}
