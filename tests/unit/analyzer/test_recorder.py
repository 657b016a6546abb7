"""The recorder on a log and a store that fail where told: every event once, in the
table and in the rollup.
"""

import asyncio
from collections import Counter
from collections.abc import Iterable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.analyzer.recorder.recorder import Batching, Recorder
from services.analyzer.recorder.tables.inference_completed import INFERENCE_COMPLETED
from services.analyzer.recorder.writer import Writer
from services.common.bus.coordinates import CommittedOffset, TopicPartition
from services.common.bus.dead_letters.dead_letter import InvalidShare, TooManyInvalidError
from services.common.errors import ConfigError
from services.common.process.health import HealthState
from services.common.retry import DependencyRetry, Pauses
from tests.support.analyzer.recorder_fakes import (
    PLACE,
    EndOfLogError,
    FakeDeadLetters,
    FakeEvents,
    FakeLog,
    FakeTables,
    Fault,
    KilledError,
    record,
    request_id,
)


def _recorder(
    events: FakeEvents,
    tables: FakeTables,
    dead_letters: FakeDeadLetters,
    *,
    rows: int = 10,
    share: InvalidShare | None = None,
) -> Recorder:
    health = HealthState()
    dependency_retry = DependencyRetry("recorder", health, events.rest, Pauses(jitter=lambda: 0.0))
    writer = Writer(
        events,
        tables,
        dead_letters,
        dependency_retry,
        invalid=share or InvalidShare(1.0),
        refused=InvalidShare(1.0),
    )
    recordings = {PLACE.topic: INFERENCE_COMPLETED}
    return Recorder(
        events,
        tables,
        writer,
        dependency_retry,
        recordings,
        health,
        Batching(rows=rows, linger_s=0.0),
        monotonic_s=lambda: 0.0,
    )


async def _live(recorder: Recorder) -> bool:
    """One life of a recorder; True if it was killed."""
    try:
        await recorder.start()
        await recorder.run()
    except KilledError:
        return True
    except EndOfLogError:
        return False
    except BaseExceptionGroup as group:
        if group.split(KilledError)[1] is None:
            return True
        raise
    raise AssertionError("it ends by being killed or by the log's end")


def _lives(
    log: FakeLog,
    tables: FakeTables,
    dead_letters: FakeDeadLetters,
    *,
    sizes: list[int],
    kills: list[set[str]],
) -> None:
    """Recorders one after the other, until one deals with the whole log."""
    for size, kill_at in zip(sizes + [7] * 50, kills + [set()] * 50, strict=False):
        if not asyncio.run(
            _live(_recorder(FakeEvents(log, kill_at, poll_size=size), tables, dead_letters, rows=size))
        ):
            return
    raise AssertionError("fifty lives were not enough")


_KILLS = st.sets(
    st.builds("{} commit {}".format, st.sampled_from(["before", "after"]), st.integers(1, 6)), max_size=2
)


@settings(max_examples=80, deadline=None)
@given(
    validity=st.lists(st.booleans(), min_size=1, max_size=40),
    holes=st.sets(st.integers(0, 60), max_size=10),
    faults=st.lists(st.sampled_from(Fault), max_size=8),
    sizes=st.lists(st.integers(1, 15), max_size=8),
    kills=st.lists(_KILLS, max_size=8),
)
def test_recorder_whatever_dies_when_records_each_event_once(
    validity: list[bool], holes: set[int], faults: list[Fault], sizes: list[int], kills: list[set[str]]
) -> None:
    """Any mix of invalid events, holes in the offsets, batch sizes, deaths, faults:
    table and rollup have each valid event once, the dead letters the rest.
    """
    offsets = [offset for offset in range(len(validity) + len(holes)) if offset not in holes][: len(validity)]
    offsets += range(100, 100 + len(validity) - len(offsets))
    log = FakeLog(
        [
            record(number, offset, valid=valid)
            for number, (offset, valid) in enumerate(zip(offsets, validity, strict=True))
        ]
    )
    tables, dead_letters = FakeTables(list(faults)), FakeDeadLetters()
    _lives(log, tables, dead_letters, sizes=sizes, kills=kills)
    expected = Counter(f"request-{number:08}" for number, valid in enumerate(validity) if valid)
    assert Counter(map(request_id, tables.rows)) == expected
    assert tables.rollup == expected
    assert dead_letters.offsets == {
        offset for offset, valid in zip(offsets, validity, strict=True) if not valid
    }


def test_recorder_restarted_without_new_events_sets_nothing_aside_again() -> None:
    """Dead letters at the end of the log, after the store's highest offset, are
    remembered by the commit.
    """
    log = FakeLog([record(number, number, valid=number < 5) for number in range(10)])
    tables, dead_letters = FakeTables(), FakeDeadLetters()
    _lives(log, tables, dead_letters, sizes=[10], kills=[])
    _lives(log, tables, dead_letters, sizes=[10], kills=[])
    assert len(dead_letters.failures) == 5


def test_recorder_with_a_store_restored_from_a_backup_fills_it_again() -> None:
    """The store decides where to begin, not the commit."""
    log = FakeLog([record(number, number) for number in range(30)])
    _lives(log, FakeTables(), FakeDeadLetters(), sizes=[10], kills=[])
    restored = FakeTables()
    _lives(log, restored, FakeDeadLetters(), sizes=[10], kills=[])
    assert len(restored.rows) == 30


def test_recorder_with_the_store_away_waits_in_its_group() -> None:
    """It rests and tries the same block again until the store is back."""
    log = FakeLog([record(number, number) for number in range(10)])
    tables, events = FakeTables([Fault.AWAY, Fault.AWAY, Fault.LOST_ANSWER]), FakeEvents(log)
    recorder = _recorder(events, tables, FakeDeadLetters())
    assert not asyncio.run(_live(recorder))
    assert events.rests == 3
    assert len(tables.rows) == 10
    assert recorder.health.dependencies["store"].ok


def test_recorder_with_an_event_that_the_store_refuses_sets_only_that_one_aside() -> None:
    """The block is halved down to the culprit; its neighbours are recorded."""
    log = FakeLog([record(number, number) for number in range(40)])
    tables, dead_letters = FakeTables(refuses={"request-00000013"}), FakeDeadLetters()
    _lives(log, tables, dead_letters, sizes=[40], kills=[])
    assert len(tables.rows) == 39
    assert dead_letters.offsets == {13}


def test_recorder_with_mostly_invalid_events_halts_before_setting_them_aside() -> None:
    """It stops with a clear message, says so in /ready, and leaves the events in the
    log.
    """
    log = FakeLog([record(number, number, valid=number % 4 == 0) for number in range(200)])
    tables, dead_letters = FakeTables(), FakeDeadLetters()
    recorder = _recorder(
        FakeEvents(log, poll_size=200), tables, dead_letters, rows=200, share=InvalidShare(0.5, 100, 20)
    )
    with pytest.raises(TooManyInvalidError, match="halting"):
        asyncio.run(_live(recorder))
    assert not dead_letters.failures
    assert not tables.rows
    assert not recorder.health.dependencies["consumer"].ok


def test_recorder_with_a_log_that_is_shorter_than_the_store_refuses_to_begin() -> None:
    """A topic that was created anew must not be mistaken for one that was recorded."""
    tables = FakeTables()
    _lives(
        FakeLog([record(number, number) for number in range(30)]),
        tables,
        FakeDeadLetters(),
        sizes=[30],
        kills=[],
    )
    recorder = _recorder(FakeEvents(FakeLog([record(0, 0)])), tables, FakeDeadLetters())
    with pytest.raises(ConfigError, match="created anew"):
        asyncio.run(_live(recorder))


async def test_recorder_that_loses_a_partition_drops_what_it_held_of_it() -> None:
    """What was polled before the loss is not recorded after it: the new owner does it."""
    log, tables = FakeLog([record(number, number) for number in range(10)]), FakeTables()
    events = FakeEvents(log)
    recorder = _recorder(events, tables, FakeDeadLetters())
    await recorder.start()
    await recorder._settle()
    recorder._buffer_records(await events.poll(0, 10))
    await recorder._on_revoked({PLACE})
    await recorder._write()
    assert not tables.rows
    assert log.committed == {}


async def test_recorder_told_to_drain_records_what_it_holds() -> None:
    """A batch that is not due yet is written before it stops."""
    log, tables = FakeLog([record(number, number) for number in range(10)]), FakeTables()
    events = FakeEvents(log)
    recorder = _recorder(events, tables, FakeDeadLetters())
    await recorder.start()
    await recorder._settle()
    recorder._buffer_records(await events.poll(0, 10))
    recorder._stopping = True
    await recorder.run()
    await recorder.drain()
    assert len(tables.rows) == 10
    assert log.committed[TopicPartition(*PLACE)] == CommittedOffset(10, "9 -1 -1")


async def test_recorder_reassigned_while_it_asks_where_to_begin_asks_again() -> None:
    """Meanwhile the partition was another's, who went on in it."""
    log, tables = FakeLog([record(number, number) for number in range(20)]), FakeTables()

    class Interrupted(FakeEvents):
        async def committed(self, places: Iterable[TopicPartition]) -> dict[TopicPartition, CommittedOffset]:
            found = await super().committed(places)
            if not tables.rows:
                await recorder._on_revoked({PLACE})
                assert not await _live(_recorder(FakeEvents(log), tables, FakeDeadLetters()))
                await recorder._on_assigned({PLACE})
            return found

    recorder = _recorder(Interrupted(log), tables, FakeDeadLetters(), rows=7)
    assert not await _live(recorder)
    assert len(tables.rows) == 20
