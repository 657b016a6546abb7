"""The recorder as a process of its own, between a real Kafka and the embedded store,
while things are killed.
"""

import asyncio

import pytest

from services.common.store import Store
from tests.support.analyzer.recorder_scene import Scene
from tests.support.analyzer.recording import EventSource, RecorderProcess, eventually, recorded

pytestmark = pytest.mark.timeout(400)

_LOAD = 4000
_KILLS = 2


@pytest.mark.chaos
@pytest.mark.parametrize("victim", ["recorder", "store", "broker"])
async def test_recorder_while_something_is_killed_records_each_event_once(scene: Scene, victim: str) -> None:
    """Kill -9 in the middle of inserts, again and again: rows are what was sent, the
    rollups agree, no gap, no double.
    """
    if victim == "broker":  # which aborts transactions that its own restart delays
        await scene.source.close()
        scene.source = EventSource(scene.broker.bootstrap, transactions=False)
        await scene.source.start()
    scene.recorder.start()
    await scene.source.send(200)
    await scene.all_recorded()
    for _ in range(_KILLS):
        before = await recorded(scene.store)
        async with asyncio.TaskGroup() as group:
            group.create_task(scene.source.send(_LOAD))
            await eventually(
                lambda before=before: _more_than(scene.store, before),
                within_s=90,
                what="the recorder is at work",
            )
            await asyncio.to_thread(_kill_and_restart, scene, victim)
    await scene.all_recorded()


@pytest.mark.chaos
async def test_recorder_that_joins_or_dies_hands_partitions_over_exactly(scene: Scene) -> None:
    """A second recorder joins in the middle of inserts, then the first is killed."""
    second = scene.another_recorder()
    scene.recorder.start()
    try:
        await scene.source.send(200)
        await scene.all_recorded()
        async with asyncio.TaskGroup() as group:
            group.create_task(scene.source.send(3 * _LOAD))
            second.start()
            await eventually(
                lambda: _says(second, "partitions_given_back"), within_s=90, what="the group has rebalanced"
            )
            scene.recorder.kill()
        await scene.all_recorded()
    finally:
        second.kill()


@pytest.mark.chaos
async def test_recorder_that_was_taken_for_dead_and_comes_back_doubles_nothing(scene: Scene) -> None:
    """It was stopped in the middle of its work, another took its partitions over, and
    it goes on with what it was about to do.
    """
    second = scene.another_recorder()
    scene.recorder.start()
    try:
        await scene.source.send(200)
        await scene.all_recorded()
        async with asyncio.TaskGroup() as group:
            group.create_task(scene.source.send(3 * _LOAD))
            await eventually(
                lambda: _more_than(scene.store, 200), within_s=90, what="the recorder is at work"
            )
            scene.recorder.pause()
            taken = scene.recorder.output.count("partition_taken")
            second.start()
            await eventually(lambda: _taken(second, taken + 1), within_s=90, what="the other has taken over")
            scene.recorder.go_on()
        await scene.all_recorded()
    finally:
        second.kill()


async def test_recorder_with_some_invalid_events_sets_them_aside_and_records_them_as_dead_letters(
    scene: Scene,
) -> None:
    """Their neighbours are recorded, and the ledger has no gap."""
    scene.recorder.start()
    await scene.source.send(1000, invalid=lambda number: number % 100 == 7)
    await scene.all_recorded(invalid=10)
    assert (await scene.store.query("SELECT DISTINCT last_error_type AS what FROM v_dead_letters"))[0][
        "what"
    ] == "InvalidEventError"


async def test_recorder_with_mostly_invalid_events_exits_and_goes_on_when_told_to(scene: Scene) -> None:
    """It ends with failure and a clear log, and nothing is lost: told to accept any
    share, it takes up where it stopped.
    """
    await scene.source.send(300, invalid=lambda number: number % 4 != 0)
    scene.recorder.start()
    assert await asyncio.to_thread(scene.recorder.wait, 60) == 1
    assert "halting instead of moving them all to the dead letters" in scene.recorder.output
    scene.recorder = scene.another_recorder(TOCSIN_RECORDER_INVALID_SHARE="1")
    scene.recorder.start()
    await scene.all_recorded(invalid=225)


async def test_recorder_told_to_stop_records_what_it_holds(scene: Scene) -> None:
    """SIGTERM writes a batch that would have waited for three seconds."""
    scene.recorder = scene.another_recorder(TOCSIN_RECORDER_LINGER_MS="3000")
    scene.recorder.start()
    await scene.source.send(50)
    await eventually(
        lambda: _says(scene.recorder, "partition_taken"), within_s=90, what="the recorder has joined"
    )
    await scene.source.send(150)
    assert await asyncio.to_thread(scene.recorder.terminate) == 0
    scene.recorder.start()
    await scene.all_recorded()


async def test_recorder_before_the_store_is_there_waits_for_it(scene: Scene) -> None:
    """It keeps its place and catches up."""
    await asyncio.to_thread(scene.running_store.stop)
    try:
        scene.recorder.start()
        await eventually(
            lambda: _says(scene.recorder, "consumer_waits"), within_s=90, what="the recorder waits"
        )
        await scene.source.send(500)
    finally:
        await asyncio.to_thread(scene.running_store.start)
    await scene.all_recorded()


def _kill_and_restart(scene: Scene, victim: str) -> None:
    if victim == "recorder":
        scene.recorder.kill()
        scene.recorder.start()
    elif victim == "store":
        scene.running_store.restart(kill=True)
    else:
        scene.broker.kill()
        scene.broker.start()


async def _more_than(store: Store, rows: int) -> bool:
    return await recorded(store) > rows


async def _says(recorder: RecorderProcess, what: str) -> bool:
    return what in recorder.output


async def _taken(recorder: RecorderProcess, times: int) -> bool:
    return recorder.output.count("partition_taken") >= times
