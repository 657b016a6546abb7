"""How well the wait in a queue is told: a queue on a real bus, what a gateway tells each
request as it is made, what the dispatcher says of those that wait, and when each really
begins. Tenants have different shares; a third of the requests come while others wait.

    python -m tests.benchmarks.sharing.queue_eta [--requests 150] [--spread 0.5] [--out eta.json]

Answers differ in length by `spread`, the standard deviation of the length's logarithm.
"""

import argparse
import asyncio
import json
import random
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from schemas.inference import STATUS, Lane, QueueStatus
from schemas.topics import STATUS_TOPIC
from services.common.bus import Tail
from services.common.requests.fair_turns import position_of_next
from services.embedded.kafka.broker import EmbeddedKafka
from tests.support.inference.in_process import Client, Followed, scripted_model, stage

_SHARES = (1.0, 3.0, 8.0)
"""One a tenant."""
_SLOTS = 4
_TOKENS_PER_S = 40
_MEAN_TOKENS = 24
_EVERY_S = 0.15

Told = tuple[str, int, float, float]
"""Whom, its place, when it was said, and the wait in seconds."""


async def measure(url: str, requests: int, spread: float) -> dict[str, Any]:
    """Errors of the told waits, as shares of the true ones."""
    model, chance = scripted_model(tokens_per_s=_TOKENS_PER_S, slots=_SLOTS), random.Random(1)
    began: dict[str, float] = {}
    told: list[Told] = []
    at_admission: list[Told] = []
    last: list[QueueStatus] = []
    async with stage(url, model) as running, Client(url, model) as client:
        await running.add_dispatcher()
        await running.add_replica()
        watching = asyncio.create_task(_watch(url, model.name, told, last))

        async def ask(number: int) -> Followed:
            length = max(1, round(_MEAN_TOKENS * chance.lognormvariate(0.0, spread)))
            tenant = number % len(_SHARES)
            status, asked_s = last[-1] if last else None, time.monotonic()
            one = await client.ask(
                f"prompt {number}",
                max_tokens=length,
                tenant=f"t{tenant}",
                deadline_s=600,
                share=_SHARES[tenant],
            )
            if status is not None and status.eta_ms is not None and any(status.turns.values()):
                place = position_of_next(
                    status, tenant=f"t{tenant}", lane=Lane.INTERACTIVE, share=_SHARES[tenant]
                )
                at_admission.append((one.request.request_id, place, asked_s, status.eta_ms * place / 1000))
            return one

        followed = [await ask(number) for number in range(requests * 2 // 3)]
        beginning = [asyncio.create_task(_note_begin(one, began)) for one in followed]
        for number in range(len(followed), requests):
            await asyncio.sleep(_EVERY_S)
            beginning.append(asyncio.create_task(_note_begin(await ask(number), began)))
        await asyncio.gather(*beginning)
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)
    return {"at admission": _errors(at_admission, began), "while waiting": _errors(told, began)}


async def _note_begin(one: Followed, began: dict[str, float]) -> None:
    await one.grew.wait()
    began[one.request.request_id] = time.monotonic()


async def _watch(url: str, model: str, told: list[Told], last: list[QueueStatus]) -> None:
    """What the dispatcher says, and its last word."""
    tail = Tail(url, "eta", topic=STATUS_TOPIC.name)
    await tail.start([0])
    try:
        while True:
            for record in await tail.poll():
                status = STATUS.validate_json(record.value)
                if isinstance(status, QueueStatus) and status.model == model and status.eta_ms is not None:
                    now_s = time.monotonic()
                    last[:] = [status]
                    told += [
                        (request_id, place, now_s, status.eta_ms * place / 1000)
                        for request_id, place in status.positions.items()
                    ]
    finally:
        await tail.close()


def _errors(told: list[Told], began: dict[str, float]) -> dict[str, Any]:
    errors = [
        (place, abs(wait_s - (began[request_id] - now_s)) / (began[request_id] - now_s))
        for request_id, place, now_s, wait_s in told
        if began[request_id] > now_s
    ]
    far = [error for place, error in errors if place > 2 * _SLOTS]
    near = [error for place, error in errors if place <= 2 * _SLOTS]
    return {
        "told": len(errors),
        "median error": round(statistics.median(error for _, error in errors), 3),
        "p90 error": round(statistics.quantiles([error for _, error in errors], n=10)[-1], 3),
        "median error, first eight places": round(statistics.median(near), 3) if near else None,
        "median error, further back": round(statistics.median(far), 3) if far else None,
        "to hold": 0.25,
    }


def main() -> None:
    """Prints the figures, and writes them where asked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=150)
    parser.add_argument("--spread", type=float, default=0.5)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        kafka = EmbeddedKafka(Path(folder) / "kafka")
        kafka.start()
        try:
            found = asyncio.run(measure(kafka.bootstrap, options.requests, options.spread))
        finally:
            kafka.stop()
    text = json.dumps(found, indent=2)
    print(text)
    if options.out:
        options.out.write_text(text)


if __name__ == "__main__":
    main()
