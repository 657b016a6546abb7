"""The whole path under load: `make bench OUT=file.json`.

Starts a Tocsin of its own with the scripted engine, everything on and recorded, and
measures what Tocsin adds: the engine answers at once. The load generator shares the
machine. Kafka is warmed first, since its JIT needs traffic.
"""

import argparse
import asyncio
import json
import time
from pathlib import Path
from typing import Any

import httpx
import psutil
import uvloop

from schemas.inference import ReplyBeat
from schemas.topics import REPLIES
from services.common.bus import Outgoing, Producer, Tail
from tests.benchmarks.http import chat, measure, table
from tests.benchmarks.load import load
from tests.benchmarks.sharing import inspection
from tests.benchmarks.sharing.overhead import compare
from tests.support.installation import Installation, installation

MODEL = "scripted"


def main() -> None:
    """Reads arguments, measures, prints tables and writes JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=15.0, help="for each load")
    parser.add_argument("--warm-s", type=float, default=20.0)
    parser.add_argument("--memory-requests", type=int, default=100_000, help="0 skips the memory run")
    parser.add_argument(
        "--compare", action="store_true", help="limits, budgets, keys and inspection on against off only"
    )
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    found: dict[str, Any] = {} if given.compare else {"first_token": first_token()}
    with installation({"TOCSIN_MODELS_FILE": "infra/models/scripted.yaml"}) as running:
        found["ready_s"] = round(running.ready_s, 1)
        if not given.compare:
            found |= uvloop.run(measure_all(running, given))
        found["limits_on_against_off"] = uvloop.run(compare(running, MODEL))
        found["inspection_on_against_off"] = uvloop.run(inspection.compare(running, MODEL, rounds=6))
    print(report(found))
    if given.out:
        given.out.write_text(json.dumps(found, indent=1))


def first_token() -> dict[str, float]:
    """Seconds from `tocsin up` to ready and to the real model's first token, twice: a
    new home, then the same one again.
    """
    found = {}
    with installation() as running:
        home = running.home
        began_s = time.monotonic()
        answer = httpx.post(
            f"{running.base_url}/chat/completions",
            headers={"authorization": f"Bearer {running.key}"},
            timeout=60,
            json={
                "model": "smollm2-135m",
                "messages": [{"role": "user", "content": "Hello"}],
                "max_tokens": 1,
            },
        )
        answer.raise_for_status()
        found["new_home_s"] = round(running.ready_s + time.monotonic() - began_s, 1)
        assert home.exists()
    return found


async def measure_all(running: Installation, given: argparse.Namespace) -> dict[str, Any]:
    """Every figure that a running installation gives."""
    url, key = running.base_url, running.key
    await load(url, key, chat(MODEL, stream=False, max_tokens=32), in_flight=16, seconds=given.warm_s)
    found: dict[str, Any] = {"http": await measure(url, key, MODEL, seconds=given.seconds)}
    found["cpu_ms_per_request"] = await cpu_split(running, given.seconds)
    found["bus_round_trip_ms"] = await bus_round_trip(running.environment["TOCSIN_KAFKA_URL"])
    if given.memory_requests:
        found["gateway_memory"] = await gateway_memory(running, given.memory_requests)
    found["recorded"] = await recorded(running)
    return found


async def cpu_split(running: Installation, seconds: float) -> dict[str, float]:
    """CPU milliseconds a request at 16 in flight, by process."""
    processes = {_label(one): psutil.Process(one["pid"]) for one in running.status() if one.get("pid")}
    before = {label: _cpu_s(process) for label, process in processes.items()}
    sample = await load(
        running.base_url, running.key, chat(MODEL, stream=False, max_tokens=32), in_flight=16, seconds=seconds
    )
    spent = {
        label: (_cpu_s(process) - before[label]) * 1000 / len(sample.latencies)
        for label, process in processes.items()
    }
    return {label: round(value, 3) for label, value in spent.items()} | {"all": round(sum(spent.values()), 3)}


async def bus_round_trip(url: str, rounds: int = 2000) -> dict[str, float]:
    """Milliseconds from a send to its arrival at a consumer of the same process."""
    out, tail = Producer(url, "bench"), Tail(url, "bench", topic=REPLIES.name)
    await out.start()
    await tail.start([0])
    taken = []
    for number in range(rounds):
        began_s = time.perf_counter()
        beat = ReplyBeat(request_id=f"bench-{number}", attempt=1, replica_id="bench")
        await out.send_soon(
            Outgoing(REPLIES.name, beat, subject=beat.request_id, tenant="bench", partition=0)
        )
        while not any(record.key == beat.request_id.encode() for record in await tail.poll(5.0)):
            pass
        taken.append((time.perf_counter() - began_s) * 1000)
    await tail.close()
    await out.close()
    taken.sort()
    return {"p50": round(taken[len(taken) // 2], 2), "p99": round(taken[int(len(taken) * 0.99)], 2)}


async def gateway_memory(running: Installation, requests: int, steps: int = 10) -> dict[str, Any]:
    """The gateway's resident memory in MB, before and after each tenth of so many
    requests.
    """
    (gateway,) = [psutil.Process(one["pid"]) for one in running.status() if one["role"] == "gateway"]
    megabytes = [gateway.memory_info().rss / 1e6]
    for _ in range(steps):
        await load(
            running.base_url,
            running.key,
            chat(MODEL, stream=False, max_tokens=32),
            in_flight=16,
            seconds=3600,
            requests=requests // steps,
        )
        megabytes.append(gateway.memory_info().rss / 1e6)
    return {"requests": requests, "rss_mb": [round(one, 1) for one in megabytes]}


async def recorded(running: Installation, timeout_s: float = 120.0) -> dict[str, int]:
    """The ledger once the recorder has caught up: rows, gaps, doubles."""
    last, since_s = -1, time.monotonic()
    while True:
        (row,) = running.query(
            "SELECT toUInt64(sum(rows)) AS rows, toUInt64(sum(gaps)) AS gaps, toUInt64(sum(doubles)) AS "
            "doubles FROM v_ledger"
        )
        if int(row["rows"]) == last or time.monotonic() - since_s > timeout_s:
            return {name: int(value) for name, value in row.items()}
        last = int(row["rows"])
        await asyncio.sleep(2)


def report(found: dict[str, Any]) -> str:
    """Everything, readable."""
    lines = [table(found["http"]), ""] if "http" in found else []
    lines += [f"{kind}: {json.dumps(one)}" for kind, one in found["limits_on_against_off"].items()]
    lines += [
        f"{name}: {json.dumps(found[name])}"
        for name in found
        if name not in ("http", "limits_on_against_off", "inspection_on_against_off")
    ]
    lines.append(inspection.report(found["inspection_on_against_off"]))
    return "\n".join(lines)


def _label(process: dict[str, Any]) -> str:
    state = process.get("state")
    return f"{process['role']} ({state})" if process["role"] == "dispatcher" else str(process["role"])


def _cpu_s(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


if __name__ == "__main__":
    main()
