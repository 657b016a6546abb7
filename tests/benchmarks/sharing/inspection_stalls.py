"""How long an event loop stalls while hostile prompts of 10 KB are read: in a thread, on
the loop a piece at a time, and in an inspection worker. No bus: `python -m
tests.benchmarks.sharing.inspection_stalls`.

A ticker sleeps a millisecond and notes how late it wakes, as a stream's chunk would be.
Besides, how long the loop itself is held for such a prompt where a worker reads it:
cutting it up, digests, the job as JSON, its answer.
"""

import argparse
import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from typing import Any

import numpy as np

from services.common.clock import monotonic_s
from services.common.control.thresholds import DEFAULT_THRESHOLDS
from services.common.process.child.frames import pack
from services.gateway.admission.inspection.cache import VerdictCache
from services.gateway.admission.inspection.fair_queue import FairQueue
from services.gateway.admission.inspection.passages import slices_of
from services.gateway.admission.inspection.pool import WorkerPool
from services.gateway.admission.inspection.process import ProcessWorker
from services.gateway.admission.inspection.reading import Reading
from services.gateway.admission.inspection.screener import Screener
from tests.benchmarks.sharing.inspection import fresh_prompts, hostile_text
from tests.unit.gateway.admission.inspection.scene import asked

Read = Callable[[list[str]], Awaitable[None]]


def main() -> None:
    """Measures and prints, in milliseconds."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=4.0, help="for each way")
    given = parser.parse_args()
    found = {
        "held_by_the_loop": held(),
        "read_ms": read_ms(),
        "late": asyncio.run(measure_all(given.seconds)),
    }
    print(json.dumps(found, indent=1))


def held(prompts: int = 300) -> dict[str, dict[str, float]]:
    """CPU of the loop for a prompt that a worker reads (ms), by what is done."""
    requests = [asked(hostile_text(number)) for number in range(prompts)]
    pieces = [slices_of(request) for request in requests]
    cache, answered = VerdictCache(), Reading(12.0, 3.0, 1.0, ("prompt_injection",))

    def job(number: int) -> None:
        pack({"kind": "screen", "texts": pieces[number], "thresholds": DEFAULT_THRESHOLDS})

    told = [json.dumps({"read": [answered for _ in one]}) for one in pieces]
    steps: dict[str, Callable[[int], object]] = {
        "slices": lambda number: slices_of(requests[number]),
        "digests": lambda number: cache.keys(pieces[number], "acme", DEFAULT_THRESHOLDS),
        "job": job,
        "answer": lambda number: json.loads(told[number]),
    }
    return {name: _cpu_ms(step, prompts) for name, step in steps.items()}


def read_ms(prompts: int = 60) -> dict[str, dict[str, float]]:
    """CPU (ms) that reading a prompt takes, rules and n-grams, by the kind of prompt."""
    screener, short = Screener.load(with_model=False), fresh_prompts()

    def read(text: str) -> None:
        for piece in slices_of(asked(text)):
            screener.read(piece, DEFAULT_THRESHOLDS)
            screener.suspicion(piece)

    return {
        "20 words": _cpu_ms(lambda _: read(short()), 10 * prompts),
        "hostile, 10 KB": _cpu_ms(lambda number: read(hostile_text(number)), prompts),
    }


def _cpu_ms(step: Callable[[int], object], count: int) -> dict[str, float]:
    taken = []
    for number in range(count):
        began_s = time.thread_time()
        step(number)
        taken.append((time.thread_time() - began_s) * 1000)
    p50, p99 = np.percentile(taken, [50, 99])
    return {"p50_ms": round(float(p50), 3), "p99_ms": round(float(p99), 3)}


async def measure_all(seconds: float) -> dict[str, dict[str, float]]:
    """Each way of reading, one after the other."""
    screener = Screener.load(with_model=False)
    pool = WorkerPool(1, ProcessWorker.start, FairQueue(512, 8 * 1024 * 1024), monotonic_s)
    running = asyncio.create_task(pool.run())
    await pool.wait_until_ready(60)

    def read(texts: list[str]) -> None:
        for text in texts:
            screener.read(text, DEFAULT_THRESHOLDS)
            screener.suspicion(text)

    async def in_thread(texts: list[str]) -> None:
        await asyncio.to_thread(read, texts)

    async def on_loop(texts: list[str]) -> None:
        for text in texts:
            read([text])
            await asyncio.sleep(0)

    async def in_worker(texts: list[str]) -> None:
        message: dict[str, Any] = {"kind": "screen", "texts": texts, "thresholds": DEFAULT_THRESHOLDS}
        await pool.ask(message, tenant="bench", within_s=60.0, urgent=True, on_read=lambda _: None)

    async def nothing(_texts: list[str]) -> None:
        await asyncio.sleep(0.02)

    ways: dict[str, Read] = {
        "nothing": nothing,
        "in a thread": in_thread,
        "on the loop, a piece at a time": on_loop,
        "in a worker": in_worker,
    }
    found = {name: await _stalls(way, seconds) for name, way in ways.items()}
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    return found


async def _stalls(way: Read, seconds: float) -> dict[str, float]:
    late: list[float] = []
    ticking = asyncio.create_task(_tick(late))
    until_s, count = time.perf_counter() + seconds, 0
    while time.perf_counter() < until_s:
        await way(slices_of(asked(hostile_text(count))))
        count += 1
    ticking.cancel()
    p50, p99 = np.percentile(np.array(late) * 1000, [50, 99])
    worst = max(late) * 1000
    return {
        "texts_per_s": round(count / seconds, 1),
        "late_p50_ms": round(float(p50), 2),
        "late_p99_ms": round(float(p99), 2),
        "late_max_ms": round(worst, 2),
    }


async def _tick(late: list[float]) -> None:
    while True:
        began_s = time.perf_counter()
        await asyncio.sleep(0.001)
        late.append(time.perf_counter() - began_s - 0.001)


if __name__ == "__main__":
    main()
