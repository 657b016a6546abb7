"""How far three gateways overshoot a hard budget under a flood, and what following the
ends costs: `python -m tests.benchmarks.budgets [--trials N] [--rate R] [--out FILE]`.

Kafka, the store, the recorder and the gateways are processes of their own; the
inference side answers at once. Each trial has a tenant, a key and a budget of its own,
of which a flood on all three gateways wants several times as much.
"""

import argparse
import asyncio
import contextlib
import json
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import httpx
import yaml

from schemas.control import BudgetChanged, Subject
from schemas.topics import COMPLETED
from services.common.budgets.spend import SpendStore, spend_key_of
from services.common.bus import Tail
from services.common.clock import utc_now
from services.common.control import changes
from services.common.store import Store
from services.gateway.budgets.book import BudgetBook
from services.gateway.budgets.follower import SpendFollower
from services.gateway.budgets.spending import Spending
from tests.integration.gateway.conftest import Scene
from tests.integration.gateway.test_process import gateway_process
from tests.support.analyzer.recording import RecorderProcess, completed, fresh_database
from tests.support.control import control_writer, make_key
from tests.support.inference.in_process import scripted_model, stage
from tests.support.kafka import OwnBroker
from tests.support.store import running_store

GATEWAYS = 3
TOKENS = 10
PRICE = {"input_per_million_usd": "0", "output_per_million_usd": "1000"}
EACH = Decimal(TOKENS).scaleb(-3)
REQUESTS = 100
"""As many as a budget reaches for."""


@dataclass(frozen=True, slots=True)
class Trial:
    """A flood: `overshoot` in requests beyond the budget, below 0 what was left of it."""

    asked: int
    served: int
    overshoot: int
    first_refusal_s: float | None
    answers: dict[str, int]


@dataclass(frozen=True, slots=True)
class Following:
    """Microseconds of CPU for each end that is read."""

    with_a_budget_us: float
    of_another_tenant_us: float


async def measure_overshoot(folder: Path, *, trials: int, rate_per_s: float) -> list[Trial]:
    """Floods, one after the other."""
    broker = OwnBroker(folder / "kafka")
    broker.start()
    with running_store(folder / "store") as store:
        url, store_url = broker.bootstrap, fresh_database(store)
        model = scripted_model(slots=64, price=PRICE)
        models_file = folder / "models.yaml"
        fields = {"name", "engine", "options", "slots", "context_length", "price"}
        models_file.write_text(yaml.safe_dump({"models": [model.model_dump(mode="json", include=fields)]}))
        recorder = RecorderProcess(url, store_url, folder / "recorder.log")
        try:
            async with stage(url, model) as running, contextlib.AsyncExitStack() as stack:
                await running.add_dispatcher()
                await running.add_replica()
                recorder.start()
                scene = Scene(url, model.name, models_file, "none")
                clients = []
                for number in range(GATEWAYS):
                    settings = {"TOCSIN_CLICKHOUSE_URL": store_url, "TOCSIN_INSTANCE": f"g{number}"}
                    started = gateway_process(scene, **settings, TOCSIN_LOG_LEVEL="error")
                    clients.append((await stack.enter_async_context(started))[1])
                return [await _trial(scene, clients, rate_per_s) for _ in range(trials)]
        finally:
            recorder.kill()
            broker.kill()


async def _trial(scene: Scene, clients: Sequence[httpx.AsyncClient], rate_per_s: float) -> Trial:
    tenant = f"t-{uuid4().hex[:8]}"
    clear, key = await make_key(scene.url, tenant=tenant)
    entry = BudgetChanged(
        budget_id=tenant,
        tenant=tenant,
        subject=Subject(kind="tenant", id=tenant),
        period="month",
        limit_usd=EACH * REQUESTS,
        hard=True,
        created_at=key.created_at,
    )
    await control_writer(scene.url).apply(changes.create(entry))
    headers = {"authorization": f"Bearer {clear}"}
    answers: Counter[str] = Counter()
    began, first_refusal = time.perf_counter(), []

    async def ask(client: httpx.AsyncClient) -> None:
        body = {"model": scene.model, "prompt": "hello", "max_tokens": TOKENS}
        answer = await client.post("/v1/completions", json=body, headers=headers)
        ok = answer.status_code == 200
        answers["served" if ok else answer.json()["error"]["code"]] += 1
        if not ok:
            first_refusal.append(time.perf_counter() - began)

    for client in clients:  # all of them know the key and the budget
        async with asyncio.timeout(20):
            while (await client.get("/v1/models", headers=headers)).status_code != 200:  # noqa: ASYNC110  another process
                await asyncio.sleep(0.02)
    await asyncio.sleep(1.0)
    began = time.perf_counter()
    asking = []
    count = REQUESTS * 4
    for number in range(count):
        asking.append(asyncio.create_task(ask(clients[number % len(clients)])))
        await asyncio.sleep(max(0.0, began + number / rate_per_s - time.perf_counter()))
    await asyncio.gather(*asking)
    served = answers["served"]
    refused_s = round(min(first_refusal), 2) if first_refusal else None
    return Trial(count, served, served - REQUESTS, refused_s, dict(answers))


def measure_following(count: int = 20_000) -> Following:
    """How long the ends of one tenant take, of which one has a budget of its own."""
    return Following(_follow("acme", count), _follow("initech", count))


def _follow(tenant: str, count: int) -> float:
    entries = [
        BudgetChanged(
            budget_id=kind,
            tenant="acme",
            subject=Subject.model_validate({"kind": kind, "id": name}),
            period="day",
            limit_usd=Decimal(10),
            created_at=utc_now(),
        )
        for kind, name in (("tenant", "acme"), ("key", "key00001"))
    ]
    book = BudgetBook(lambda entry: spend_key_of(entry, pseudonym_key="x" * 16))
    book.read({one.budget_id: one for one in entries})
    spending = Spending()
    for spend_key in book.spend_keys:
        spending.open(spend_key, [], {}, utc_now())
    tail, store = Tail("127.0.0.1:1", "x", topic=COMPLETED.name), SpendStore(Store("http://x@127.0.0.1:1/x"))
    follower = SpendFollower(tail, store, book, spending, utc_now)
    records: list[Any] = []
    names = ("id", "source", "type", "specversion", "time", "subject", "sequence", "traceparent")
    for number in range(count):
        event = completed(number, tenant=tenant, cost_usd=Decimal("0.000123"), completed_at=utc_now())
        headers = [*((f"ce_{name}", b"0123456789abcdef") for name in names), ("ce_tenant", tenant.encode())]
        records.append(
            SimpleNamespace(
                key=event.request_id.encode(),
                value=event.encode(),
                headers=headers,
                partition=0,
                offset=number,
            )
        )
    began = time.process_time()
    follower.take(records)
    return round((time.process_time() - began) / count * 1e6, 2)


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=3)
    parser.add_argument("--rate", type=float, default=200.0)
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        trials = asyncio.run(measure_overshoot(Path(folder), trials=given.trials, rate_per_s=given.rate))
    found = {
        "requests_a_budget": REQUESTS,
        "rate_per_s": given.rate,
        "bound_requests": GATEWAYS - 1,
        "trials": [asdict(one) for one in trials],
        "following": asdict(measure_following()),
    }
    text = json.dumps(found, indent=2)
    if given.out:
        given.out.write_text(text + "\n")
    print(text)
    return 1 if any(one.overshoot > GATEWAYS - 1 for one in trials) else 0


if __name__ == "__main__":
    sys.exit(main())
