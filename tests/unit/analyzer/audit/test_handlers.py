"""The audit role on a store that fails where told: one chain, whoever dies when."""

import asyncio
from typing import Any

import pytest
from aiokafka import ConsumerRecord
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.topics import AUDIT
from services.analyzer.audit.domain.verification import verify
from services.analyzer.audit.handlers import AuditChainer, InvalidEntryError
from services.common.bus.coordinates import TopicPartition
from services.common.bus.subscriber import Event
from services.common.errors import HaltError, StoreRejectedError, StoreUnavailableError
from tests.support.analyzer.audit_fakes import FakeAuditTable, Fault, KilledError, chain, entry, envelope


def _event(number: int, **changes: object) -> Event[Any]:
    message = entry(number, **changes)
    record = ConsumerRecord(AUDIT.name, 0, number * 3, 0, 0, None, b"", None, 0, 0, ())
    return Event(message, envelope(number), record)


async def test_entries_are_chained_in_the_order_of_the_log() -> None:
    """The rows are those that follow from the log alone."""
    table = FakeAuditTable()
    chainer = AuditChainer(table)
    await chainer.on_audit_entries([_event(n) for n in range(4)])
    await chainer.on_audit_entries([_event(n) for n in range(2, 9)])
    assert table.rows == chain(9, holes=3)
    assert await chainer.first_unchained(TopicPartition(AUDIT.name, 0)) == 25


@pytest.mark.parametrize(
    "changes",
    [
        {"occurred_at": entry(0).occurred_at.replace(year=1999)},
        {"action": "a\udcff"},
        {"after": {"x": "\ud800"}},
    ],
    ids=["year", "surrogate", "surrogate within"],
)
async def test_entry_that_cannot_be_chained_is_refused_and_nothing_of_its_batch_is_in(
    changes: dict[str, object],
) -> None:
    """The subscriber then sets that one aside, and the rest are chained without it."""
    table = FakeAuditTable()
    with pytest.raises(InvalidEntryError):
        await AuditChainer(table).on_audit_entries([_event(0), _event(1, **changes)])
    assert table.rows == []


class RefusingTable(FakeAuditTable):
    """Refuses rows with the errors that it is given, in turn."""

    def __init__(self, *errors: Exception) -> None:
        super().__init__()
        self.errors = list(errors)

    async def insert(self, rows: Any, *, token: str) -> None:
        """Inserts, or raises the next error."""
        if self.errors:
            raise self.errors.pop(0)
        await super().insert(rows, token=token)


async def test_entry_is_left_out_only_for_what_it_is() -> None:
    """Not for what went wrong at one owner: another, whom it did not happen to, would
    chain it, and the chain would fork. A store that refuses rows halts the role.
    """
    for wrong in (RuntimeError("a bug"), MemoryError(), KeyError("x")):
        table = RefusingTable(wrong)
        with pytest.raises(StoreUnavailableError):
            await AuditChainer(table).on_audit_entries([_event(0)])
        await AuditChainer(table).on_audit_entries([_event(0)])
        assert table.rows == chain(1)
    with pytest.raises(HaltError, match="tocsin migrate"):
        await AuditChainer(RefusingTable(StoreRejectedError("no such column"))).on_audit_entries([_event(0)])


async def test_forked_chain_is_not_continued() -> None:
    """Whoever chained an entry that another left out: nothing is written behind it."""
    first, second = FakeAuditTable(), FakeAuditTable()
    await AuditChainer(first).on_audit_entries([_event(n) for n in range(5)])
    await AuditChainer(second).on_audit_entries([_event(n) for n in (0, 1, 3)])
    table = FakeAuditTable(stored=first.stored | second.stored)
    chainer = AuditChainer(table)
    for asked in (
        chainer.first_unchained(TopicPartition(AUDIT.name, 0)),
        chainer.on_audit_entries([_event(9)]),
    ):
        with pytest.raises(HaltError, match="two rows at position 2"):
            await asked
    assert len(table.rows) == 6


@settings(max_examples=100, deadline=None)
@given(
    count=st.integers(1, 30),
    sizes=st.lists(st.integers(1, 12), max_size=30),
    faults=st.lists(st.sampled_from(Fault), max_size=15),
    commits=st.lists(st.booleans(), max_size=30),
)
def test_chain_is_whole_whoever_dies_when(
    count: int, sizes: list[int], faults: list[Fault], commits: list[bool]
) -> None:
    """Kills before and after an insert, lost answers, inserts that land when another
    owns the partition, commits that are lost: each entry has one row, in one chain.
    """
    table, committed = FakeAuditTable(faults), 0
    size_of, is_committed = iter(sizes + [7] * 500), iter(commits + [True] * 500)
    while committed < count:
        position = committed
        try:  # one life of an owner: from what is committed to its death or the end
            while position < count:
                batch = [_event(n) for n in range(position, min(count, position + next(size_of)))]
                asyncio.run(_until_there(AuditChainer(table), batch))
                position += len(batch)
                if next(is_committed):
                    committed = position
                else:
                    break
        except KilledError:
            continue
    asyncio.run(table.head(TopicPartition(AUDIT.name, 0)))  # what is late arrives
    assert table.rows == chain(count, holes=3)
    assert verify(table.rows).first_break is None


async def _until_there(chainer: AuditChainer, batch: list[Event[Any]]) -> None:
    while True:
        try:
            await chainer.on_audit_entries(batch)
        except StoreUnavailableError:
            continue
        return
