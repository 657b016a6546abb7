"""What the recorder relies on, asked of the fake that its rules are proven on and of
the real store.
"""

from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Protocol

import pytest

from services.analyzer.recorder.interfaces import StoreTables, Tables
from services.analyzer.recorder.rows import Row, process_message
from services.analyzer.recorder.tables.inference_completed import INFERENCE_COMPLETED
from services.common.bus.coordinates import LogPosition, TopicPartition
from services.common.errors import StoreRejectedError, StoreUnavailableError
from services.common.store import Store
from services.common.store.migrations import migrate
from tests.support.analyzer.recorder_fakes import FakeTables, record
from tests.support.analyzer.recording import TOPIC, fresh_database, rollups_disagree
from tests.support.store import RunningStore, running_store


class Subject(Protocol):
    """A `Tables`, and what is in it."""

    tables: Tables

    async def counts(self) -> tuple[int, int]:
        """Rows in the table, requests in the rollup."""


class _Fake:
    def __init__(self) -> None:
        self.tables = FakeTables()

    async def counts(self) -> tuple[int, int]:
        return len(self.tables.rows), sum(self.tables.rollup.values())


class _Real:
    def __init__(self, store: Store) -> None:
        self._store = store
        self.tables = StoreTables(store)

    async def counts(self) -> tuple[int, int]:
        assert await rollups_disagree(self._store) == []
        row = (
            await self._store.query(
                "SELECT count() AS n, (SELECT sum(requests) FROM inference_per_minute) AS m FROM "
                "inference_events"
            )
        )[0]
        return row["n"], row["m"]


@pytest.fixture(params=["fake", "real"])
async def subject(request: pytest.FixtureRequest) -> AsyncIterator[Subject]:
    """The fake, then the real store."""
    if request.param == "fake":
        yield _Fake()
        return
    running: RunningStore = request.getfixturevalue("store")
    store = Store(fresh_database(running))
    yield _Real(store)
    await store.close()


def _rows(numbers: Sequence[int], partition: int = 0) -> list[Row]:
    return [
        process_message(
            INFERENCE_COMPLETED,
            one.value,
            one.headers,
            LogPosition(topic=TOPIC, partition=partition, offset=number),
        )
        for number in numbers
        if (one := record(number, number)) is not None
    ]


async def test_insert_of_one_block_is_in_table_and_rollup(subject: Subject) -> None:
    """All of a block's rows, in both."""
    await subject.tables.insert(INFERENCE_COMPLETED.table, _rows(range(2500)), token="a")
    assert await subject.counts() == (2500, 2500)


async def test_insert_of_the_same_token_again_changes_nothing(subject: Subject) -> None:
    """Neither the table nor the rollup."""
    for _ in range(3):
        await subject.tables.insert(INFERENCE_COMPLETED.table, _rows(range(100)), token="a")
    assert await subject.counts() == (100, 100)


async def test_insert_of_like_rows_under_another_token_is_kept(subject: Subject) -> None:
    """Only the token tells a repeat: equal content is no reason to drop a block."""
    await subject.tables.insert(INFERENCE_COMPLETED.table, _rows(range(10)), token="a")
    await subject.tables.insert(INFERENCE_COMPLETED.table, _rows(range(10)), token="b")
    assert await subject.counts() == (20, 20)


async def test_highest_offsets_are_those_of_each_partition(subject: Subject) -> None:
    """A partition without rows is left out."""
    assert await subject.tables.highest_offsets(INFERENCE_COMPLETED.table) == {}
    await subject.tables.insert(INFERENCE_COMPLETED.table, _rows(range(5, 9)), token="a")
    await subject.tables.insert(INFERENCE_COMPLETED.table, _rows(range(3), partition=2), token="b")
    assert await subject.tables.highest_offsets(INFERENCE_COMPLETED.table) == {
        TopicPartition(TOPIC, 0): 8,
        TopicPartition(TOPIC, 2): 2,
    }


async def test_insert_of_a_row_that_does_not_fit_is_refused_whole(subject: Subject) -> None:
    """Nothing of the block is in, and the refusal is not mistaken for an absence."""
    rows = _rows(range(10))
    spoiled = list(rows[4])
    spoiled[list(INFERENCE_COMPLETED.table.columns).index("prompt_tokens")] = "many"
    spoiled[list(INFERENCE_COMPLETED.table.columns).index("request_id")] = "spoiled"
    if isinstance(subject.tables, FakeTables):
        subject.tables.refuses.add("spoiled")
    with pytest.raises(StoreRejectedError):
        await subject.tables.insert(
            INFERENCE_COMPLETED.table, [*rows[:4], tuple(spoiled), *rows[5:]], token="a"
        )
    assert (await subject.counts())[0] == 0
    await subject.tables.insert(INFERENCE_COMPLETED.table, rows, token="b")
    assert await subject.counts() == (10, 10)


async def test_tables_are_written_by_the_service_and_read_by_the_analyst(store: RunningStore) -> None:
    """The rights of the embedded store's users suffice for the recorder and for every
    view, and no further.
    """
    migrate(store.url("admin"))
    service, analyst = Store(store.url("service")), Store(store.url("analyst"))
    await StoreTables(service).insert(INFERENCE_COMPLETED.table, _rows(range(10)), token="rights")
    assert (await StoreTables(service).highest_offsets(INFERENCE_COMPLETED.table))[
        TopicPartition(TOPIC, 0)
    ] >= 9
    views = await analyst.query(
        "SELECT name FROM system.tables WHERE database = 'tocsin' AND startsWith(name, 'v_')"
    )
    assert len(views) > 20
    for view in views:
        await analyst.query(f"SELECT * FROM {view['name']} LIMIT 10")
    with pytest.raises(StoreUnavailableError, match=r"privileges|readonly"):
        await StoreTables(analyst).insert(INFERENCE_COMPLETED.table, _rows(range(10)), token="none")
    await service.close()
    await analyst.close()


async def test_times_of_all_tables_and_views_say_utc(store: RunningStore) -> None:
    """On a server with another time zone they mean the same."""
    migrate(store.url("admin"))
    found = store.ask(
        "SELECT table, name, type FROM system.columns WHERE database = 'tocsin' AND type LIKE '%DateTime%' "
        "AND type NOT LIKE '%UTC%' AND match(table, '^(v_|inference_|dead_|audit|feedback|sec|kpi|drift)') "
        "AND NOT endsWith(table, '_writer')"
    )
    assert (found.status, found.text) == (200, "")


_CUT_SHORT = {
    "a": ("inference_per_minute",),
    "b": ("inference_events",),
    "c": ("inference_events", "inference_per_minute", "inference_per_hour", "inference_per_day"),
}
"""The tokens of blocks, in their order, and where each was remembered but not stored."""


@pytest.fixture
def own_store(tmp_path: Path) -> Iterator[RunningStore]:
    """A store of the test's own, to be killed at will."""
    with running_store(tmp_path) as running:
        yield running


async def test_block_that_a_kill_cut_short_is_completed_by_its_repeat(own_store: RunningStore) -> None:
    """Killed between a block's line in the deduplication log and its part, in a rollup,
    in the table, or in all: the same token again completes it, and once more changes
    nothing.
    """
    store = Store(fresh_database(own_store))
    blocks = {token: _rows(range(start, start + 100)) for start, token in enumerate(_CUT_SHORT)}
    try:
        for table in _CUT_SHORT["c"]:
            await store.command(f"SYSTEM STOP MERGES {table}")
        await _insert_all(store, blocks)
        folders = {table: await _folder(store, table) for table in _CUT_SHORT["c"]}
        own_store.stop(kill=True)
        for number, cut in enumerate(_CUT_SHORT.values()):
            for table in cut:
                _undo_move(folders[table], number)
        own_store.start()
        for _ in range(2):
            await _insert_all(store, blocks)
            assert await _Real(store).counts() == (300, 300)
    finally:
        await store.close()


async def _insert_all(store: Store, blocks: Mapping[str, Sequence[Row]]) -> None:
    for token, rows in blocks.items():
        await StoreTables(store).insert(INFERENCE_COMPLETED.table, rows, token=token)


async def _folder(store: Store, table: str) -> Path:
    rows = await store.query(
        "SELECT data_paths[1] AS path FROM system.tables WHERE database = currentDatabase() AND name = "
        "{name:String}",
        {"name": table},
    )
    return Path(rows[0]["path"])


def _undo_move(table: Path, number: int) -> None:
    """Leaves a table's folder as a kill before the last step of that block does."""
    (log,) = (table / "deduplication_logs").iterdir()
    part = log.read_text().splitlines()[number].split("\t")[1]
    (table / part).rename(table / f"tmp_insert_{part}")
