"""Kills processes at random under load, then compares the ledger: `make chaos
SECONDS=120 OUT=file.json`.

Every process that `tocsin status` lists may be killed with -9: broker, store, recorder,
inference, gateways, dispatchers, replicas. Clients ask 50 times a second and reattach
when their connection breaks; others ask a model that is switched off, whose requests
the gateways end themselves. In the end every stream must be whole, and the store must
hold each request exactly once, at the cost of the tokens that its client was told; and
every gateway must have just that as spent of a hard budget.
"""

import argparse
import asyncio
import json
import os
import random
import signal
import sys
import time
from collections.abc import Collection
from contextlib import suppress
from decimal import Decimal
from pathlib import Path
from typing import Any

from tests.chaos.client import Client, Stream
from tests.chaos.spending import BudgetedKey
from tests.chaos.verdict import Spent, is_exact, verdict
from tests.support.installation import Installation, installation

MODELS = """
models:
  - name: scripted
    engine: scripted
    options: {tokens_per_s: 40}
    slots: 128
    replicas: {min: 2, max: 2}
    num_cpus: 0.1
    price: {input_per_million_usd: 1, output_per_million_usd: 2}
    context_length: 100000
  - name: withdrawn
    engine: scripted
    num_cpus: 0.1
    context_length: 100000
"""
TOKENS = 40


def main() -> None:
    """Reads arguments, runs, prints the verdict and writes JSON; the exit status is 1
    if anything was lost, doubled or broken.
    """
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=120.0)
    parser.add_argument("--requests-per-s", type=float, default=50.0)
    parser.add_argument("--kill-every-s", type=float, default=6.0)
    parser.add_argument(
        "--roles", default="", help="comma-separated; empty means every process of tocsin status"
    )
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    found = asyncio.run(run(given))
    print(json.dumps(found, indent=1))
    if given.out:
        given.out.write_text(json.dumps(found, indent=1))
    sys.exit(0 if is_exact(found) and not found["misjudged_budgets"] else 1)


async def run(given: argparse.Namespace) -> dict[str, Any]:
    """One run on an installation of its own."""
    models = Path(os.environ.get("TMPDIR", "/tmp")) / f"tocsin-chaos-{os.getpid()}.yaml"
    models.write_text(MODELS)
    try:
        with installation({"TOCSIN_MODELS_FILE": str(models)}, gateways=2) as running:
            kills: list[dict[str, Any]] = []
            refusals: list[str] = []
            running.command("models", "disable", "withdrawn").check_returncode()
            budgeted = BudgetedKey(running, "scripted")
            async with (
                Client(gateway_urls(running), budgeted.key, "scripted") as client,
                asyncio.TaskGroup() as group,
            ):
                killer = group.create_task(kill_at_random(running, given, kills))
                refused = group.create_task(ask_what_is_off(client, given, refusals))
                streams = await ask_steadily(client, given, group)
                killer.cancel()
                refused.cancel()
            found = await judge(running, [stream.result() for stream in streams], refusals)
            found["misjudged_budgets"] = await budgeted.misjudged(gateway_urls(running))
    finally:
        models.unlink(missing_ok=True)
    return found | {"kills": len(kills), "killed": kills, "seconds": given.seconds}


def gateway_urls(running: Installation) -> list[str]:
    """Every gateway's /v1."""
    return [
        f"http://127.0.0.1:{one['port']}/v1" for one in running.status() if one["role"].startswith("gateway")
    ]


async def ask_steadily(
    client: Client, given: argparse.Namespace, group: asyncio.TaskGroup
) -> list["asyncio.Task[Stream]"]:
    """New streams at an even rate; returns once all have ended."""
    streams, began_s = [], time.monotonic()
    while (passed_s := time.monotonic() - began_s) < given.seconds:
        while len(streams) < passed_s * given.requests_per_s:
            streams.append(group.create_task(client.stream(len(streams), tokens=TOKENS)))
        await asyncio.sleep(0.01)
    await asyncio.wait(streams)
    return streams


async def ask_what_is_off(client: Client, given: argparse.Namespace, refusals: list[str]) -> None:
    """A tenth as many requests, one after the other, to the model that is switched
    off.
    """
    while True:
        await asyncio.sleep(10 / given.requests_per_s)
        if request_id := await client.refusal("withdrawn"):
            refusals.append(request_id)


async def kill_at_random(
    running: Installation, given: argparse.Namespace, kills: list[dict[str, Any]]
) -> None:
    """Kill -9, again and again; the last one early enough that all can come back."""
    chance, began_s = random.Random(given.seed), time.monotonic()
    roles = set(filter(None, given.roles.split(",")))
    while True:
        await asyncio.sleep(chance.uniform(0.5, 1.5) * given.kill_every_s)
        if time.monotonic() - began_s > given.seconds - 3:
            return
        listed = await asyncio.to_thread(running.status)
        victims = [
            one
            for one in listed
            if one.get("pid") and one["role"] != "aot" and (not roles or one["role"] in roles)
        ]
        if not victims:
            continue
        victim = chance.choice(victims)
        with suppress(ProcessLookupError):
            os.kill(victim["pid"], signal.SIGKILL)
            kills.append(
                {
                    "at_s": round(time.monotonic() - began_s, 1),
                    "role": victim["role"],
                    "state": victim.get("state"),
                }
            )


async def judge(
    running: Installation, streams: list[Stream], refusals: Collection[str] = (), timeout_s: float = 180.0
) -> dict[str, Any]:
    """Waits until the store has caught up or does not change any more, then compares."""
    expected = sum(bool(one.request_id) for one in streams) + len(refusals)
    end_s, found = time.monotonic() + timeout_s, {}
    while time.monotonic() < end_s:
        await asyncio.sleep(2)
        with suppress(Exception):  # the store may just be coming back
            rows, ledger, rollups, spent = await asyncio.to_thread(_ask_store, running)
            found = verdict(streams, rows, ledger, rollups, refusals=refusals, spent=spent)
            if found["lost"] == 0 and found["rows"] >= expected and found["gaps"] == 0:
                return found
    return found


def _ask_store(
    running: Installation,
) -> tuple[dict[str, int], dict[str, int], dict[str, int], dict[str, Spent]]:
    found = running.query(
        "SELECT request_id, count() AS rows, any(prompt_tokens) AS prompt, "
        "any(completion_tokens) AS completion, toString(any(cost_usd)) AS usd "
        "FROM inference_events GROUP BY request_id"
    )
    rows = {row["request_id"]: int(row["rows"]) for row in found}
    spent = {
        row["request_id"]: Spent(int(row["prompt"]), int(row["completion"]), Decimal(row["usd"] or "NaN"))
        for row in found
    }
    (ledger,) = running.query(
        "SELECT toInt64(sum(gaps)) AS gaps, toInt64(sum(doubles)) AS doubles FROM v_ledger"
    )
    (rollups,) = running.query(
        "SELECT (SELECT sum(requests) FROM inference_per_minute) AS per_minute, (SELECT sum(requests) "
        "FROM inference_per_hour) AS per_hour"
    )
    return (
        rows,
        {name: int(value) for name, value in ledger.items()},
        {name: int(value) for name, value in rollups.items()},
        spent,
    )


if __name__ == "__main__":
    main()
