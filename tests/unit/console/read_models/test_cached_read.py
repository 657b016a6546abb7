"""Look-ups that several share, and whose failure is a value."""

import asyncio
from datetime import UTC, datetime
from typing import Any

import pytest

from services.common.errors import BusUnavailableError, StoreUnavailableError
from services.console.read_models.cached_read import CachedRead, ReadState
from services.console.read_models.status import PlatformStatus


class Source:
    """Answers as it is told, and counts."""

    def __init__(self, *answers: Any) -> None:
        self.answers = list(answers)
        self.asked = 0
        self.open = asyncio.Event()
        self.open.set()

    async def __call__(self) -> Any:
        """The next answer."""
        self.asked += 1
        await self.open.wait()
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, BaseException):
            raise answer
        return answer


def cached(source: Source, now: list[float], timeout_s: float = 3.0) -> CachedRead:
    """A read over a clock that the test moves."""
    return CachedRead("part", source, lambda: datetime.now(UTC), lambda: now[0], timeout_s=timeout_s)


async def test_many_who_ask_at_once_share_one_look_up() -> None:
    """A crowd of dashboards costs one query."""
    source, now = Source("data"), [0.0]
    source.open.clear()
    read = cached(source, now)
    asking = [asyncio.create_task(read.get()) for _ in range(50)]
    await asyncio.sleep(0)
    source.open.set()
    assert {(await one).data for one in asking} == {"data"}
    assert source.asked == 1


async def test_reading_is_taken_anew_once_it_is_old() -> None:
    """Fresh within a second, then looked up again."""
    source, now = Source("old", "new"), [0.0]
    read = cached(source, now)
    assert (await read.get()).data == "old"
    now[0] = 0.9
    assert (await read.get()).data == "old"
    now[0] = 1.1
    assert (await read.get()).data == "new"


@pytest.mark.parametrize(
    ("error", "state"),
    [
        (BusUnavailableError("kafka:9092 is away"), ReadState.UNAVAILABLE),
        (StoreUnavailableError("http://user@store is away"), ReadState.UNAVAILABLE),
        (ZeroDivisionError("a bug"), ReadState.FAILED),
        (TimeoutError(), ReadState.TIMED_OUT),
    ],
)
async def test_failure_is_a_state_and_shows_nothing_of_why(error: Exception, state: ReadState) -> None:
    """Addresses and bugs are for the log."""
    reading = await cached(Source(error), [0.0]).get()
    assert (reading.state, reading.data) == (state, None)
    assert str(error) not in repr(reading) or not str(error)


async def test_look_up_that_takes_too_long_times_out() -> None:
    """Whoever asks waits `timeout_s` at most."""
    source = Source("never")
    source.open.clear()
    reading = await cached(source, [0.0], timeout_s=0.05).get()
    assert reading.state is ReadState.TIMED_OUT


async def test_caller_that_leaves_does_not_end_the_others_look_up() -> None:
    """One closed tab does not fail the rest."""
    source, now = Source("data"), [0.0]
    source.open.clear()
    read = cached(source, now)
    leaver, other = asyncio.create_task(read.get()), asyncio.create_task(read.get())
    await asyncio.sleep(0)
    leaver.cancel()
    source.open.set()
    assert (await other).data == "data"
    with pytest.raises(asyncio.CancelledError):
        await leaver


async def test_status_with_one_part_away_tells_the_others() -> None:
    """Each part degrades on its own; where things run is told to administrators only."""
    now = [0.0]
    platform = PlatformStatus(
        {
            "store": cached(Source(StoreUnavailableError("away")), now),
            "processes": cached(Source({"replicas": [{"id": "r", "host": "node7", "pid": 12}]}), now),
        }
    )
    told = await platform.read(with_places=False)
    assert told["state"] == "degraded"
    assert told["parts"]["store"]["state"] == "unavailable"
    assert told["parts"]["processes"]["data"] == {"replicas": [{"id": "r"}]}
    told = await platform.read(with_places=True)
    assert told["parts"]["processes"]["data"]["replicas"][0]["host"] == "node7"
    await platform.close()


@pytest.mark.parametrize(
    ("data", "state"),
    [
        ([{"topic": "t", "gaps": 0, "doubles": 0}], "ok"),
        ([{"topic": "t", "gaps": 1, "doubles": 0}], "degraded"),
        ([{"topic": "t", "gaps": 0, "doubles": 2}], "degraded"),
        ({"analyzer": {"state": "ready"}}, "ok"),
        ({"analyzer": {"state": "away"}}, "degraded"),
        ({"analyzer": {"state": "not_ready"}}, "degraded"),
        ({"recorder": {"topic": 7}}, "ok"),
        ({"version": "26.9"}, "ok"),
        ({"replicas": []}, "ok"),
    ],
)
async def test_status_that_tells_of_trouble_is_degraded(data: Any, state: str) -> None:
    """Reading a part well is not enough: what it says counts."""
    platform = PlatformStatus({"part": cached(Source(data), [0.0])})
    assert (await platform.read(with_places=False))["state"] == state
