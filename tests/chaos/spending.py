"""A hard budget that no stream exceeds, and whether every gateway has its spending to
the last part of a cent.
"""

import asyncio
import json
import time
from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import httpx

from schemas.inference import Sampling
from services.common.requests.model_catalogue import ModelConfig, Price
from services.gateway.budgets.estimates import estimate
from tests.chaos.verdict import INPUT_USD, OUTPUT_USD
from tests.support.installation import Installation
from tests.support.time_zones import zone_at_noon
from tests.unit.gateway.limits.scene import request

_BUDGET, _CLOSED = "chaos", "chaos-closed"
_LEAST_USD = Decimal("0.000001")
"""What the cheapest token costs: every sum is a multiple of it."""
_PROMPT = "spent"
_GIVE_UP_S = 60.0


@dataclass
class BudgetedKey:
    """A key of its own under a hard budget of its own, on a running installation."""

    running: Installation
    model: str
    key: str = field(init=False, repr=False)
    key_id: str = field(init=False)
    asked: list[str] = field(default_factory=list, init=False)
    """Ids of this class's own requests."""

    def __post_init__(self) -> None:
        made = json.loads(self._tocsin("keys", "create", "--name", "chaos", "--json"))
        self.key, self.key_id = made["key"], made["key_id"]
        self._make_budget(_BUDGET, Decimal(1_000_000))

    async def misjudged(self, urls: Collection[str]) -> list[str]:
        """The gateways that take something else for spent than the store recorded, each
        with what it did; the key must be idle.

        A request that costs E at most is refused while the limit is a millionth of a
        dollar below spent + E, and admitted at spent + E, where and only where the
        gateway has the very sum.
        """
        async with httpx.AsyncClient(headers={"authorization": f"Bearer {self.key}"}, timeout=60) as client:
            await asyncio.to_thread(self._make_budget, _CLOSED, _LEAST_USD)
            for url in urls:
                await self._until_refused(client, url, (_BUDGET, _CLOSED))
            most = await self._recorded() + self._most_usd()
            await asyncio.to_thread(self._limit, most - _LEAST_USD)
            await asyncio.to_thread(self._tocsin, "budgets", "delete", _CLOSED)
            wrong = [url for url in urls if not await self._until_refused(client, url, (_BUDGET,))]
            if wrong:
                return [f"{url}: forgot some of what was spent" for url in wrong]
            for url in urls:
                most = await self._recorded() + self._most_usd()
                await asyncio.to_thread(self._limit, most)
                if not await self._until_admitted(client, url):
                    wrong.append(f"{url}: counted more than what was spent")
        await asyncio.to_thread(self._limit, Decimal(1_000_000))
        return wrong

    async def _until_refused(self, client: httpx.AsyncClient, url: str, budgets: Collection[str]) -> bool:
        """Whether one of these budgets refuses a request; until another one does, or the
        gateway's is not ready, it is asked again. One that is admitted while the budget
        is open to all answers False.
        """
        end_s = time.monotonic() + _GIVE_UP_S
        while time.monotonic() < end_s:
            answer = await self._ask(client, url)
            if answer.status_code == 429 and any(f"{one!r}" in answer.text for one in budgets):
                return True
            if answer.status_code == 200 and _CLOSED not in budgets:
                return False
            await asyncio.sleep(0.1)
        raise AssertionError(f"{url} was never asked about {budgets}: {answer.status_code} {answer.text}")

    async def _until_admitted(self, client: httpx.AsyncClient, url: str) -> bool:
        end_s = time.monotonic() + _GIVE_UP_S
        while time.monotonic() < end_s:
            if (await self._ask(client, url)).status_code == 200:
                return True
            await asyncio.sleep(0.1)
        return False

    async def _ask(self, client: httpx.AsyncClient, url: str) -> httpx.Response:
        body = {"model": self.model, "prompt": _PROMPT, "max_tokens": 1}
        answer = await client.post(f"{url}/completions", json=body)
        if answer.status_code == 200:
            self.asked.append(answer.headers["x-request-id"])
        return answer

    async def _recorded(self) -> Decimal:
        """What the store has, once it has the requests of this class."""
        end_s = time.monotonic() + _GIVE_UP_S
        sql = (
            "SELECT toString(sum(cost_usd)) AS usd, groupArray(request_id) AS ids FROM inference_events "
            f"WHERE key_id = '{self.key_id}'"
        )
        while time.monotonic() < end_s:
            (row,) = await asyncio.to_thread(self.running.query, sql)
            if set(self.asked) <= set(row["ids"]):
                return Decimal(row["usd"])
            await asyncio.sleep(0.2)
        raise AssertionError("the store has not all requests")

    @staticmethod
    def _most_usd() -> Decimal:
        price = Price(input_per_million_usd=INPUT_USD, output_per_million_usd=OUTPUT_USD)
        model: Any = ModelConfig(name="m", engine="scripted", context_length=100_000)
        found = estimate(request(prompt=_PROMPT, sampling=Sampling(max_tokens=1)), model, price)
        assert found is not None
        return found.usd

    def _make_budget(self, name: str, limit_usd: Decimal) -> None:
        self._tocsin(
            *("budgets", "create", name, "--for", f"key:{self.key_id}", "--limit-usd", str(limit_usd)),
            *("--hard", "--period", "day", "--time-zone", zone_at_noon(datetime.now(UTC))),
        )

    def _limit(self, limit_usd: Decimal) -> None:
        self._tocsin("budgets", "set", _BUDGET, "--limit-usd", str(limit_usd))

    def _tocsin(self, *arguments: str) -> str:
        done = self.running.command(*arguments)
        assert done.returncode == 0, done.stderr
        return done.stdout
