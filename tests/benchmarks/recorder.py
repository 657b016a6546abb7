"""Rows a second from Kafka into the store: `python -m tests.benchmarks.recorder
[--events N] [OUT=file.json]`.

Kafka, the store and the recorder are processes of their own, as `tocsin up` runs them.
A backlog is produced first, then the recorder is started and timed from its first row
to its last, so that neither the producer nor the recorder's start counts.
"""

import argparse
import asyncio
import json
import os
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil

from services.common.store import Store
from services.embedded.kafka.broker import EmbeddedKafka
from tests.support.analyzer.recording import (
    EventSource,
    RecorderProcess,
    eventually,
    fresh_database,
    ledger,
    provision_topics,
    recorded,
    rollups_disagree,
)
from tests.support.store import RunningStore, running_store


@dataclass(frozen=True, slots=True)
class Result:
    """What was measured. CPU is of the whole run, by process, in seconds."""

    events: int
    seconds: float
    rows_per_s: float
    recorder_cpu_us_per_row: float
    recorder_cpu_s: float
    store_cpu_s: float
    kafka_cpu_s: float
    recorder_rss_mb: float
    gaps: int
    doubles: int
    rollups_agree: bool


async def measure(events: int, folder: Path, broker: EmbeddedKafka, running: RunningStore) -> Result:
    """One run over a backlog of `events`."""
    await provision_topics(broker.bootstrap)
    url = fresh_database(running)
    source, store = EventSource(broker.bootstrap), Store(url)
    recorder = RecorderProcess(
        broker.bootstrap, url, folder / "recorder.log", TOCSIN_RECORDER_LINGER_MS="200"
    )
    await source.start()
    await source.send(events, batch=1000)
    cpu = {"store": _cpu(running.pid), "kafka": _cpu(broker.pid or 0)}
    recorder.start()
    try:
        await eventually(lambda: _at_least(store, 1), within_s=120, what="the first row")
        first, begun = await recorded(store), time.perf_counter()
        process = psutil.Process(recorder.pid)
        cpu_before = _cpu(recorder.pid)
        await eventually(lambda: _at_least(store, events), within_s=600, what="the last row")
        seconds, used, memory = (
            time.perf_counter() - begun,
            _cpu(recorder.pid) - cpu_before,
            process.memory_info().rss,
        )
        await eventually(lambda: _agree(store), within_s=10, what="the rollups agree")
        row, agree = await ledger(store, source.source), await _agree(store)
    finally:
        recorder.terminate()
        await source.close()
        await store.close()
    rows = events - first
    return Result(
        events=events,
        seconds=round(seconds, 2),
        rows_per_s=round(rows / seconds),
        recorder_cpu_us_per_row=round(used / rows * 1e6, 1),
        recorder_cpu_s=round(used, 2),
        store_cpu_s=round(_cpu(running.pid) - cpu["store"], 2),
        kafka_cpu_s=round(_cpu(broker.pid or 0) - cpu["kafka"], 2),
        recorder_rss_mb=round(memory / 2**20),
        gaps=int(str(row["gaps"])),
        doubles=int(str(row["doubles"])),
        rollups_agree=agree,
    )


def main(arguments: list[str]) -> None:
    """Measures, prints a table, writes OUT."""
    out = next(
        (one.removeprefix("OUT=") for one in arguments if one.startswith("OUT=")), os.environ.get("OUT", "")
    )
    parser = argparse.ArgumentParser()
    parser.add_argument("--events", type=int, default=100_000)
    options = parser.parse_args([one for one in arguments if not one.startswith("OUT=")])
    with tempfile.TemporaryDirectory() as name, running_store(Path(name) / "store") as running:
        broker = EmbeddedKafka(Path(name) / "kafka")
        broker.start()
        try:
            result = asyncio.run(measure(options.events, Path(name), broker, running))
        finally:
            broker.stop()
    for key, value in asdict(result).items():
        print(f"{key:<26}{value:>12}")
    if out:
        Path(out).write_text(json.dumps(asdict(result), indent=2) + "\n")


def _cpu(pid: int) -> float:
    times = psutil.Process(pid).cpu_times()
    return float(times.user + times.system)


async def _at_least(store: Store, rows: int) -> bool:
    return await recorded(store) >= rows


async def _agree(store: Store) -> bool:
    return not await rollups_disagree(store)


if __name__ == "__main__":
    main(sys.argv[1:])
