"""Money over three gateways, a recorder and dispatchers, some of which are killed."""

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import timedelta
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from schemas.control import BudgetChanged, Subject
from schemas.events.budgets import BudgetWarned
from schemas.topics import BUDGETS_WARNED
from services.common.budgets.spend import SpendKey, spend_key_of
from services.common.bus import Start, Tail
from services.common.clock import utc_now
from services.common.control import changes
from services.common.store import Store
from services.console.domain.cost_query import CostRequest
from services.console.read_models.costs import Costs
from services.gateway.app import Gateway, build
from tests.integration.gateway.conftest import Scene, client_of, until
from tests.integration.gateway.test_process import gateway_process
from tests.support.analyzer.recording import RecorderProcess, eventually, fresh_database
from tests.support.control import control_writer, make_key
from tests.support.inference.in_process import Stage, scripted_model, stage
from tests.support.kafka import OwnBroker
from tests.support.store import RunningStore
from tests.support.time_zones import zone_at_noon

pytestmark = pytest.mark.timeout(300)

TOKENS = 10
PRICE = {"input_per_million_usd": "1", "output_per_million_usd": "1000"}
EACH = Decimal(2).scaleb(-6) + Decimal(TOKENS).scaleb(-3)
"""What a request of two words costs, whose answer has ten tokens."""
MOST = EACH + Decimal(100).scaleb(-6)
"""What is reserved for it, at most."""
LIMIT = Decimal("0.6")
BUSY = (503, "overloaded")
"""Who waited two seconds for the gateways to hear of each other is asked to come back: how
many are, the machine decides.
"""


@dataclass
class Platform:
    """Two gateways of this process's and a third as a process of its own."""

    scene: Scene
    stage: Stage
    store: Store
    store_url: str
    recorder: RecorderProcess
    budget: BudgetChanged
    stack: contextlib.AsyncExitStack
    own: list[Gateway] = field(default_factory=list)
    clients: list[httpx.AsyncClient] = field(default_factory=list)
    used: list[dict[str, int]] = field(default_factory=list)
    refused: list[httpx.Response] = field(default_factory=list)

    @property
    def spend_key(self) -> SpendKey:
        """The budget's."""
        return spend_key_of(self.budget, pseudonym_key="a pseudonym key for tests")

    async def start_gateway(self, **settings: Any) -> Gateway:
        """Another gateway of this process's, and a client of it."""
        gateway = build(self.scene.settings(**({"clickhouse_url": self.store_url} | settings)))
        self.stack.push_async_callback(gateway.close)
        await gateway.start()
        working = asyncio.create_task(gateway.run())
        self.stack.callback(working.cancel)
        self.own.append(gateway)
        self.clients.append(await self.stack.enter_async_context(client_of(gateway, self.scene)))
        return gateway

    async def ask(self, client: httpx.AsyncClient) -> bool:
        """One request; False where it was refused."""
        body = {"model": self.scene.model, "prompt": "two words", "max_tokens": TOKENS, "user": "anybody"}
        answer = await client.post("/v1/completions", json=body)
        if answer.status_code == 200:
            self.used.append(answer.json()["usage"])
        else:
            self.refused.append(answer)
        return answer.status_code == 200

    async def is_exhausted(self, client: httpx.AsyncClient) -> bool:
        """Whether a request is refused for what was spent, not for what is under way."""
        return not await self.ask(client) and self.refused[-1].headers["x-should-retry"] == "false"

    async def flood(self, clients: list[httpx.AsyncClient], count: int) -> None:
        """Asks so many times, at all of them at once."""
        await asyncio.gather(*(self.ask(clients[number % len(clients)]) for number in range(count)))

    @property
    def observed(self) -> Decimal:
        """What the clients' own counts come to."""
        prompt = sum(one["prompt_tokens"] for one in self.used)
        completion = sum(one["completion_tokens"] for one in self.used)
        return Decimal(prompt).scaleb(-6) + Decimal(completion).scaleb(-3)

    async def recorded(self) -> Decimal:
        """What /api/costs tells."""
        query = CostRequest().query(utc_now() + timedelta(seconds=1), {"tenant": "acme"})
        return Decimal((await Costs(self.store).read(query))["total"]["cost_usd"])

    async def agree(self) -> None:
        """Clients, the store and every gateway of ours have the same sum."""

        async def same() -> bool:
            spent = {one.serving.budgets.spending.spent(self.spend_key, utc_now()) for one in self.own}
            return spent == {self.observed} and await self.recorded() == self.observed

        try:
            await eventually(same, within_s=60, what="all sums agree")
        except AssertionError:
            spent = [one.serving.budgets.spending.spent(self.spend_key, utc_now()) for one in self.own]
            raise AssertionError(f"{self.observed}, {await self.recorded()}, {spent}") from None


@pytest.fixture
async def platform(own_broker: OwnBroker, store: RunningStore, tmp_path: Path) -> AsyncIterator[Platform]:
    """A hard budget of sixty cents a day for whoever owns the key, and all that serves."""
    url, store_url = own_broker.bootstrap, fresh_database(store)
    model = scripted_model(slots=16, price=PRICE)
    models_file = tmp_path / "models.yaml"
    fields = {"name", "engine", "options", "slots", "context_length", "price"}
    models_file.write_text(yaml.safe_dump({"models": [model.model_dump(mode="json", include=fields)]}))
    async with stage(url, model) as running, contextlib.AsyncExitStack() as stack:
        clear, key = await make_key(url, user="jo")
        entry = BudgetChanged(
            budget_id="pocket-money",
            tenant="acme",
            subject=Subject(kind="user", id="acme/jo"),
            period="day",
            time_zone=zone_at_noon(utc_now()),
            limit_usd=LIMIT,
            hard=True,
            warn_at=(Decimal("0.3"), Decimal("0.8")),
            created_at=key.created_at,
        )
        await control_writer(url).apply(changes.create(entry))
        recorder = RecorderProcess(url, store_url, tmp_path / "recorder.log")
        recorder.start()
        stack.callback(recorder.kill)
        scene = Scene(url, model.name, models_file, clear)
        reading = Store(store_url)
        stack.push_async_callback(reading.close)
        made = Platform(scene, running, reading, store_url, recorder, entry, stack)
        for _ in range(2):
            await made.start_gateway()
        yield made


async def test_hard_budget_holds_and_every_sum_agrees_whoever_is_killed(platform: Platform) -> None:
    """Three gateways under a flood; the recorder and the active dispatcher die in it, then
    one gateway, then all is asked again. What clients counted, what the store has, what
    /api/costs tells and what each gateway knows is one sum, below the limit but for one
    request of each other gateway; each share is warned of once.
    """
    active = await platform.stage.add_dispatcher()
    await platform.stage.add_replica()
    settings = {"TOCSIN_CLICKHOUSE_URL": platform.store_url}
    async with gateway_process(platform.scene, **settings) as (process, third):
        await until(lambda: all(one.serving.usage_exchange.peer_usage.live == 2 for one in platform.own))
        clients = [*platform.clients, third]
        asking = asyncio.create_task(platform.flood(clients, 30))
        await until(lambda: len(platform.used) > 5)
        platform.recorder.kill()
        await platform.stage.add_dispatcher()
        await active.die()
        await asking
        assert (len(platform.used), platform.refused) == (30, [])
        process.kill()
        await process.wait()
    platform.recorder.start()
    async with gateway_process(platform.scene, **settings) as (_, third):
        clients = [*platform.clients, third]
        await platform.flood(clients, 90)
        for client in clients:
            await eventually(partial(platform.is_exhausted, client), within_s=20, what="it is exhausted")
    await platform.agree()
    assert LIMIT - 3 * MOST <= platform.observed <= LIMIT + 2 * MOST
    told = Counter((one.status_code, one.json()["error"]["code"]) for one in platform.refused)
    assert set(told) - {BUSY} == {(429, "insufficient_quota")}
    for one in platform.refused:
        busy = one.status_code == 503
        assert ("retry-after" in one.headers) if busy else ("pocket-money" in one.json()["error"]["message"])
    await _restarted_gateways_know(platform)
    await until(lambda: not any(len(one.serving.budgets.reservations) for one in platform.own))
    assert await _warnings(platform) == [("pocket-money", Decimal("0.3")), ("pocket-money", Decimal("0.8"))]


async def _restarted_gateways_know(platform: Platform) -> None:
    """One that starts refuses from its first request on; one that cannot ask the store
    lets nobody in under the budget.
    """
    started = await platform.start_gateway()
    assert not await platform.ask(platform.clients[-1])
    assert platform.refused[-1].status_code == 429
    assert started.serving.budgets.spending.spent(platform.spend_key, utc_now()) == platform.observed
    await platform.start_gateway(clickhouse_url="http://default@127.0.0.1:1/tocsin")
    assert not await platform.ask(platform.clients[-1])
    answer = platform.refused[-1]
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "store_unavailable")
    assert answer.headers["retry-after"] == "2"


async def _warnings(platform: Platform) -> list[tuple[str, Decimal]]:
    tail = Tail(platform.scene.url, "test-warnings", committed_only=True, topic=BUDGETS_WARNED.name)
    await tail.start([0], Start.BEGINNING)
    found: list[BudgetWarned] = []
    try:
        async with asyncio.timeout(30):
            while len(found) < 2:
                found += [BudgetWarned.model_validate_json(one.value) for one in await tail.poll(0.2)]
            found += [BudgetWarned.model_validate_json(one.value) for one in await tail.poll(1.5)]
    finally:
        await tail.close()
    assert all(one.spent_usd >= one.share * LIMIT for one in found)
    return [(one.budget_id, one.share) for one in found]
