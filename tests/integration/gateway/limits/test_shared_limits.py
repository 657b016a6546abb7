"""Limits that gateways share in a real Valkey, without anything else between them."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from uuid import uuid4

import pytest

from schemas.control import Limits
from services.common.http.problems import ProblemError
from services.common.process import metrics
from services.gateway.limits.valkey.shared_limits import SharedLimits
from services.gateway.streams.admitted import Admitted
from tests.integration.gateway.limits.valkey_server import OwnValkey, valkey_server
from tests.unit.gateway.limits.scene import LimitsScene, caller, request

__all__ = ["valkey_server"]


@dataclass
class Gateway:
    """One gateway's limits, at a time of its own that stands still; the store has its
    own clock.
    """

    scene: LimitsScene
    shared: SharedLimits

    async def ask(self, key_id: str, limits: Limits) -> Admitted | None:
        """What was let in, or None for a refusal."""
        with contextlib.suppress(ProblemError):
            [let_in] = await self.scene.admit(caller(limits, key_id=key_id), [request()])
            return let_in
        return None

    async def ask_often(self, count: int, key_id: str, limits: Limits) -> list[Admitted]:
        """What is let in of so many requests at once."""
        asked = await asyncio.gather(*(self.ask(key_id, limits) for _ in range(count)))
        return [let_in for let_in in asked if let_in is not None]


@contextlib.asynccontextmanager
async def gateways(server: OwnValkey, count: int) -> AsyncIterator[list[Gateway]]:
    """So many gateways, each connected."""
    made = []
    for number in range(count):
        scene = LimitsScene(gateway_id=f"g{number}")
        shared = SharedLimits(server.url, f"{uuid4().hex}", scene.peer_usage.held, answer_s=10.0)
        scene.admission.shared = shared
        made.append(Gateway(scene, shared))
    async with asyncio.TaskGroup() as tasks:
        running = [tasks.create_task(one.shared.run()) for one in made]
        await until(lambda: all(one.shared.available for one in made))
        try:
            yield made
        finally:
            for task in running:
                task.cancel()
            for one in made:
                await one.shared.close()


async def until(condition: Callable[[], bool]) -> None:
    """Waits for a condition that nothing announces."""
    async with asyncio.timeout(30):
        while not condition():  # noqa: ASYNC110  what is looked at has no event
            await asyncio.sleep(0.01)


def key() -> str:
    """A key that nothing used yet."""
    return uuid4().hex[:8]


async def test_limit_holds_exactly_over_three_gateways_at_once(valkey_server: OwnValkey) -> None:
    """Not one more, however many ask at the same moment; the answer tells what is left
    of all that was used.
    """
    async with gateways(valkey_server, 3) as made:
        name = key()
        limits = Limits(requests_per_minute=12)
        all_in = await asyncio.gather(*(one.ask_often(20, name, limits) for one in made))
        assert sum(map(len, all_in)) == 12
        assert await made[0].ask(name, limits) is None
        fresh = await made[1].ask(key(), limits)
        assert fresh is not None
        assert dict(fresh.headers)["x-ratelimit-remaining-requests"] == "11"


async def test_tokens_and_streams_are_reserved_over_gateways_and_settled(valkey_server: OwnValkey) -> None:
    """Twenty tokens a request are reserved; what was not used is free at every gateway."""
    async with gateways(valkey_server, 2) as (one, two):
        name, limits = key(), Limits(tokens_per_minute=60, concurrent_streams=3)
        all_in = await one.ask_often(3, name, limits)
        assert len(all_in) == 3
        assert await two.ask(name, limits) is None
        for let_in in all_in:
            let_in.settle(4, 6)
        await until(lambda: not one.shared._calls)
        again = await two.ask_often(3, name, limits)
        assert len(again) == 1  # 30 used, 20 reserved: 10 are left
        for let_in in again:
            let_in.give_back()


async def test_gateway_that_is_gone_holds_nothing(valkey_server: OwnValkey) -> None:
    """Its lease ends with it; what it had used stays used."""
    async with gateways(valkey_server, 1) as (staying,):
        name, limits = key(), Limits(concurrent_streams=2, tokens_per_minute=100)
        async with gateways(valkey_server, 1) as (leaving,):
            all_in = await leaving.ask_often(3, name, limits)
            assert len(all_in) == 2
            assert await staying.ask(name, limits) is None
            all_in[0].settle(10, 20)  # as the gateway stops
        assert len(await staying.ask_often(3, name, limits)) == 2
        [let_in] = await staying.scene.admit(caller(Limits(tokens_per_minute=100), key_id=name), [request()])
        assert dict(let_in.headers)["x-ratelimit-remaining-tokens"] == str(100 - 30 - 3 * 20)


async def test_store_that_is_away_costs_no_request_and_is_used_again_when_it_is_back(
    valkey_server: OwnValkey,
) -> None:
    """Meanwhile each gateway judges by what it knows; afterwards the store is told what
    is held.
    """
    async with gateways(valkey_server, 2) as (one, two):
        name, limits = key(), Limits(concurrent_streams=3)
        held = await one.ask_often(2, name, limits)
        assert len(held) == 2
        before = metrics.LIMITS_STORE_SKIPPED._value.get()
        valkey_server.kill()
        try:
            one.shared.answer_s = two.shared.answer_s = 0.05
            assert await one.ask(name, limits) is not None  # its own third
            assert await one.ask(name, limits) is None
            assert metrics.LIMITS_STORE_SKIPPED._value.get() >= before + 2
            await until(lambda: not one.shared.available)
            held[0].give_back()
        finally:
            valkey_server.start()
        await until(lambda: one.shared.available and two.shared.available)
        one.shared.answer_s = two.shared.answer_s = 10.0
        await until(lambda: not (one.shared._unsure or one.shared._calls))
        assert len(await two.ask_often(3, name, limits)) == 1


async def test_limit_that_allows_nothing_needs_no_store(valkey_server: OwnValkey) -> None:
    """It is refused for good, by each gateway by itself."""
    async with gateways(valkey_server, 1) as (one,):
        with pytest.raises(ProblemError) as refused:
            await one.scene.admit(caller(Limits(requests_per_minute=0)), [request()])
        assert ("x-should-retry", "false") in refused.value.problem.headers


@pytest.mark.parametrize("wrong", ["nobody listens", "another password"])
async def test_store_that_cannot_be_used_stops_no_gateway(valkey_server: OwnValkey, wrong: str) -> None:
    """It is tried again and again; requests are judged without it meanwhile."""
    url = (
        "valkey://127.0.0.1:1"
        if wrong == "nobody listens"
        else f"redis://:wrong@127.0.0.1:{valkey_server.port}"
    )
    scene = LimitsScene()
    scene.admission.shared = shared = SharedLimits(url, "g", scene.peer_usage.held)
    running = asyncio.create_task(shared.run())
    await until(lambda: shared._told_away)
    assert [await Gateway(scene, shared).ask("k", Limits(requests_per_minute=1)) for _ in range(2)].count(
        None
    ) == 1
    assert not running.done()
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    await shared.close()
