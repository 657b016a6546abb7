"""Workers that answer, hang, die and come back."""

import asyncio
import json
import socket
import threading
from typing import Any

import pytest

from services.common.control.thresholds import Thresholds
from services.common.process.child.frames import pack
from services.gateway.admission.inspection.reading import Judgement, Reading
from services.gateway.admission.inspection.worker import answer, serve_jobs
from tests.unit.gateway.admission.inspection.scene import FakeScreener, Scene, model_says, scene


async def ask(
    found: Scene, *texts: str, within_s: float = 5.0, urgent: bool = True, tenant: str = "a"
) -> Any:
    """What a job gives: None where it was not done in time."""
    taken: list[Any] = []
    message = {"kind": "judge", "texts": list(texts), "thresholds": Thresholds(), "within_s": within_s}
    in_time = await found.inspector.pool.ask(
        message, tenant=tenant, within_s=within_s, urgent=urgent, on_read=taken.extend
    )
    return taken if in_time else None


async def test_worker_that_dies_fails_its_job_alone_and_is_replaced() -> None:
    """The next job is another worker's."""
    async with scene() as found:
        assert await ask(found, "poison") is None
        assert await ask(found, "evil") == [list(model_says("evil"))]
        assert [one.closed for one in found.workers] == [True, False]


async def test_worker_that_dies_idle_is_noticed_and_replaced() -> None:
    """No job needs to fail for that."""
    async with scene() as found:
        found.workers[0].killed.set()
        async with asyncio.timeout(5):
            while len(found.workers) < 2:  # noqa: ASYNC110  what is looked at has no event
                await asyncio.sleep(0)
        assert found.workers[0].closed
        assert await ask(found, "evil") == [list(model_says("evil"))]


async def test_worker_that_hangs_is_killed_and_replaced() -> None:
    """After the longest time that a job may take."""
    async with scene(slow=True) as found:
        found.inspector.pool.job_timeout_s = 0.05
        found.slow = False
        assert await ask(found, "first") is None
        assert await ask(found, "evil") == [list(model_says("evil"))]
        assert found.workers[0].closed


async def test_answer_that_comes_late_is_kept_all_the_same() -> None:
    """The next turn of the conversation has it."""
    async with scene(slow=True) as found:
        taken: list[Any] = []
        message = {"kind": "judge", "texts": ["evil"], "thresholds": Thresholds(), "within_s": 1}
        assert not await found.inspector.pool.ask(
            message, tenant="a", within_s=0.01, urgent=True, on_read=taken.extend
        )
        found.workers[0].go.set()
        async with asyncio.timeout(5):
            while not taken:  # noqa: ASYNC110  what is looked at has no event
                await asyncio.sleep(0)
        assert taken == [list(model_says("evil"))]


async def test_job_that_nobody_waits_for_is_not_begun() -> None:
    """Those who left cost a worker nothing."""
    async with scene(slow=True) as found:
        first = asyncio.create_task(ask(found, "first"))
        await asyncio.sleep(0)
        gone = asyncio.create_task(ask(found, "gone"))
        await asyncio.sleep(0)
        gone.cancel()
        await asyncio.gather(gone, return_exceptions=True)
        found.workers[0].go.set()
        assert await first is not None
        assert await ask(found, "last") is not None
        assert [one["texts"] for one in found.workers[0].done] == [["first"], ["last"]]


async def test_opinion_that_would_come_too_late_is_not_asked_for() -> None:
    """A queue of slow jobs is not made longer; one that decides on a block still is."""
    async with scene() as found:
        pool = found.inspector.pool
        pool._job_s, pool._measured_s = 1.0, pool.monotonic()
        assert await ask(found, "evil", within_s=0.01, urgent=False) is None
        assert not found.workers[0].done
        assert await ask(found, "evil", urgent=True) is not None


async def test_pool_that_was_slow_is_tried_again() -> None:
    """What was measured is believed less and less."""
    async with scene() as found:
        pool = found.inspector.pool
        pool._job_s, pool._measured_s = 0.05, pool.monotonic() - 10
        assert await ask(found, "evil", urgent=False) is not None
        assert pool._job_s < 0.05


async def test_queue_that_is_full_says_so_at_once() -> None:
    """Nobody waits for a place in it."""
    async with scene(slow=True, jobs=2) as found:
        first = asyncio.create_task(ask(found, "taken"))
        await asyncio.sleep(0.01)
        second = asyncio.create_task(ask(found, "waits"))
        await asyncio.sleep(0)
        assert await ask(found, "too many", within_s=60.0) is None
        for one in (first, second):
            one.cancel()
        await asyncio.gather(first, second, return_exceptions=True)


async def test_opinion_is_not_asked_for_while_no_worker_is_there() -> None:
    """Nor where there shall be none."""
    async with scene(dead=True) as found:
        assert await ask(found, "evil", urgent=False) is None
    async with scene(workers=0) as found:
        assert await ask(found, "evil", urgent=True, within_s=60.0) is None


class _Reader:
    versions = ("m", "r")

    def read(self, text: str, thresholds: Thresholds) -> Reading:
        return FakeScreener().read(text, thresholds)

    def suspicion(self, text: str) -> float:
        return FakeScreener().suspicion(text)

    def judge(self, text: str, _thresholds: Thresholds) -> Judgement:
        return model_says(text)


def test_worker_judges_one_text_at_least_and_no_more_than_it_has_time_for() -> None:
    """The most suspicious is the first."""
    job = {"kind": "judge", "texts": ["evil", "evil rules"], "thresholds": Thresholds(), "within_s": 0}
    reader: Any = _Reader()
    assert answer(reader, job) == {"read": [model_says("evil")]}
    assert len(answer(reader, job | {"within_s": 60})["read"]) == 2


@pytest.mark.parametrize("text", ["\ud800 lone", "\x00\x01", "é漢🙂", "", "a" * 1_000_000])
def test_worker_is_told_any_text_as_it_is(text: str) -> None:
    """Over a real socket; it ends when the gateway hangs up."""
    ours, theirs = socket.socketpair()
    heard: list[str] = []

    class Listening(_Reader):
        def read(self, text: str, thresholds: Thresholds) -> Reading:
            heard.append(text)
            return super().read(text, thresholds)

    reader: Any = Listening()
    serving = threading.Thread(target=serve_jobs, args=(theirs, reader))
    serving.start()
    with ours, ours.makefile("rb") as incoming:
        ours.sendall(pack({"kind": "screen", "texts": [text], "thresholds": Thresholds()}))
        answers = [json.loads(incoming.read(int.from_bytes(incoming.read(4), "big"))) for _ in range(2)]
    serving.join(10)
    assert not serving.is_alive()
    assert heard == [text]
    assert answers[0] == {"versions": ["m", "r"]}
    assert len(answers[1]["read"]) == 1
