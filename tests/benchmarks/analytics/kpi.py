"""What judging windows costs and how late it tells: `python -m
tests.benchmarks.analytics.kpi`.

| part | what |
|-|-|
| cost | CPU of the store and of the role for each judged window, by requests in five minutes |
| sketches | percentiles against the exact ones |
| users | 100,000 users in a window: what is asked by user, the store's memory |
| delay | from the last request that makes a breach to its record on the bus, real Kafka, recorder and role |
"""

import argparse
import asyncio
import contextlib
import functools
import random
import tempfile
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psutil

from schemas.inference import Outcome
from schemas.topics import BREACHES, COMPLETED
from services.analyzer.kpi.domain.grid import WINDOW
from services.analyzer.kpi.readings import StoredReadings
from services.common.bus import Outgoing, Producer, Start, Tail
from services.common.bus.administration.admin import provision
from services.common.bus.consumers.events import send_all
from services.common.store import Store
from services.common.store.saved_queries import saved_queries
from services.embedded.kafka.broker import EmbeddedKafka
from tests.support.analyzer.recording import RecorderProcess, completed, fresh_database
from tests.support.store import RunningStore, running_store

_ROWS = (
    "INSERT INTO inference_events (completed_at, requested_at, tenant, model, request_id, user, outcome, "
    "duration_ms, ttft_ms, queue_ms, tokens_per_s, completion_tokens) SELECT "
    "{at:DateTime64(3, 'UTC')} - toIntervalMillisecond(rand(1) % 300000) AS at, at, "
    "concat('t', toString(rand(2) % 20)), concat('m', toString(rand(3) % 5)), toString(number), "
    "concat('u', toString(rand(4) % {users:UInt32})), if(rand(5) % 100 = 0, 'failed', 'completed'), "
    "exp(6 + randNormal(0, 1)), exp(4 + randNormal(0, 1)), exp(2 + randNormal(0, 1)), 50, 100 "
    "FROM numbers({count:UInt32})"
)
_EXACT = (
    "SELECT model, arraySort(groupArray(duration_ms)) AS all FROM inference_events WHERE "
    "outcome = 'completed' GROUP BY model"
)


def _cpu_s(process: psutil.Process) -> float:
    return float(sum(process.cpu_times()[:2]))


async def _cost(
    asked: Callable[[], Awaitable[object]], running: RunningStore, times: int
) -> tuple[float, ...]:
    """CPU-ms of the store and of this process, and ms of wall, for each time."""
    await asked()
    own, its = psutil.Process(), psutil.Process(running.pid)
    before, begun = (_cpu_s(its), _cpu_s(own)), time.monotonic()
    for _ in range(times):
        await asked()
    after = _cpu_s(its), _cpu_s(own)
    wall = (time.monotonic() - begun) / times * 1e3
    return (after[0] - before[0]) / times * 1e3, (after[1] - before[1]) / times * 1e3, wall


async def _print_costs(running: RunningStore) -> None:
    print("requests in five minutes | CPU-ms of the store, of the role, a window | ms | CPU-us a request")
    for count in (0, 3_000, 30_000, 300_000):
        async with Store(fresh_database(running)) as store:
            now = datetime.now(UTC)
            if count:
                await store.command(_ROWS, {"at": now, "count": count, "users": 1000})
            readings = StoredReadings(store)
            its, own, wall = await _cost(functools.partial(readings.recent, now), running, 30)
            each = (its + own) * 1e3 / (count / 150) if count else 0.0  # a window each two seconds
            print(f"{count:>8,} | {its:6.1f} {own:6.1f} | {wall:6.1f} | {each:8.1f}")
            if count == 300_000:
                await _print_sketches(store, now)


async def _print_sketches(store: Store, now: datetime) -> None:
    exact = {row["model"]: row["all"] for row in await store.query(_EXACT)}
    saved = saved_queries()["operations/window"]
    values = saved.values({"by": "model"}, now) | {"from": now - WINDOW, "to": now + timedelta(seconds=1)}
    worst = 0.0
    for row in await store.query(saved.limited, values):
        durations = exact[row["name"]]
        for share, name in ((0.5, "latency_p50_ms"), (0.95, "latency_p95_ms"), (0.99, "latency_p99_ms")):
            value = durations[int(share * (len(durations) - 1))]
            worst = max(worst, abs(row[name] - value) / value)
    print(f"percentiles of 300,000 lognormal latencies, five models: within {worst:.2%} of the exact ones")


async def _print_users(running: RunningStore) -> None:
    async with Store(fresh_database(running)) as store:
        now = datetime.now(UTC)
        await store.command(_ROWS, {"at": now, "count": 300_000, "users": 100_000})
        saved = saved_queries()["operations/window"]
        values = saved.values({"by": "user"}, now) | {"from": now - WINDOW, "to": now + timedelta(seconds=1)}
        rows = await store.query(saved.limited, values)
        before = psutil.Process(running.pid).memory_info().rss
        highest = asyncio.create_task(_highest_rss(running.pid))
        its, own, wall = await _cost(lambda: store.query(saved.limited, values), running, 5)
        highest.cancel()
        users, more = sum(row["names"] for row in rows), (await highest - before) / 1e6
        print(
            f"by user, {users:,} users in 300,000 requests: {len(rows)} rows, {wall:.0f} ms, {its:.0f} + "
            f"{own:.0f} CPU-ms; the store took at most {more:.0f} MB more meanwhile "
            "(its bound: 256 a query)"
        )


async def _highest_rss(pid: int) -> int:
    """Sampled until it is cancelled."""
    process, highest = psutil.Process(pid), 0
    with contextlib.suppress(asyncio.CancelledError):
        while True:
            highest = max(highest, process.memory_info().rss)
            await asyncio.sleep(0.01)
    return highest


async def _print_delays(running: RunningStore, folder: Path, times: int) -> None:
    kafka = EmbeddedKafka(folder / "kafka")
    kafka.start()
    analyzer = RecorderProcess(
        kafka.bootstrap,
        fresh_database(running),
        folder / "analyzer.log",
        TOCSIN_ANALYZER_ROLES="recorder,kpi",
        TOCSIN_RECORDER_LINGER_MS="500",
    )
    producer = Producer(kafka.bootstrap, "dispatcher", timeout_s=60)
    try:
        await provision(kafka.bootstrap, [], 0.25)
        await producer.start()
        analyzer.start()
        tail = Tail(kafka.bootstrap, "look", committed_only=True, topic=BREACHES.name)
        await tail.start([0], Start.BEGINNING)
        await asyncio.sleep(12)
        delays = sorted([await _delay(producer, tail, number) for number in range(times)])
        print(
            f"from the request that makes a breach to its record on the bus, {times} times: p50 "
            f"{delays[times // 2]:.1f} s, longest {delays[-1]:.1f} s"
        )
        await tail.close()
        analyzer.kill()
        for roles in ("recorder,audit,security", "recorder,audit,security,kpi"):
            await _print_memory(kafka.bootstrap, running, folder, roles)
    finally:
        await producer.close()
        analyzer.kill()
        kafka.stop()


async def _print_memory(bootstrap: str, running: RunningStore, folder: Path, roles: str) -> None:
    analyzer = RecorderProcess(
        bootstrap, fresh_database(running), folder / "memory.log", TOCSIN_ANALYZER_ROLES=roles
    )
    analyzer.start()
    try:
        await asyncio.sleep(45)
        process = psutil.Process(analyzer.pid)
        spent = _cpu_s(process)
        await asyncio.sleep(30)
        idle, mb = (_cpu_s(process) - spent) / 30, process.memory_info().rss / 1e6
        print(f"an analyzer of {roles}: {mb:.0f} MB, {idle:.1%} of a core where nothing happens")
    finally:
        analyzer.kill()


async def _delay(producer: Producer, tail: Tail, number: int) -> float:
    """Of twenty failing requests at a moment of its own."""
    await asyncio.sleep(random.Random(number).uniform(0, 2))
    now, model = datetime.now(UTC), f"broken-{number}"
    ends = [
        completed(
            number * 100 + one,
            model=model,
            tenant=model,
            outcome=Outcome.FAILED,
            completed_at=now,
            requested_at=now,
        )
        for one in range(20)
    ]
    await send_all(
        producer, [Outgoing(COMPLETED.name, one, subject=one.request_id, tenant=model) for one in ends], 60
    )
    while (datetime.now(UTC) - now).total_seconds() < 60:
        for record in await tail.poll(0.5):
            if BREACHES.model.validate_json(record.value).model == model:
                return float(record.timestamp / 1e3 - now.timestamp())
    return float("inf")


async def _main(times: int) -> None:
    with tempfile.TemporaryDirectory(prefix="tocsin-kpi-") as name:
        folder = Path(name)
        with running_store(folder / "store") as running:
            await _print_costs(running)
            await _print_users(running)
            await _print_delays(running, folder, times)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--breaches", type=int, default=20, help="So many breaches are timed.")
    asyncio.run(_main(parser.parse_args().breaches))
