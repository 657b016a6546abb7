"""Limits of three gateways on one bus."""

import asyncio
from collections import Counter
from contextlib import AsyncExitStack

import httpx

from services.gateway.app import Gateway
from tests.integration.gateway.conftest import Scene, StartGateway, client_of, until
from tests.support.control import make_key
from tests.support.inference.fake_inference import FakeInference

LIMIT = 12
GATEWAYS = 3


async def flood(
    clients: list[httpx.AsyncClient], scene: Scene, count: int, rate_per_s: float
) -> list[httpx.Response]:
    """Asks each gateway in turn, so often a second."""
    asking = []
    for number in range(count):
        body = {"model": scene.model, "prompt": "hello", "max_tokens": 20}
        asking.append(asyncio.create_task(clients[number % len(clients)].post("/v1/completions", json=body)))
        await asyncio.sleep(1 / rate_per_s)
    return await asyncio.gather(*asking)


async def test_limits_hold_over_three_gateways_and_a_restart(
    scene: Scene, start_gateway: StartGateway, inference: FakeInference
) -> None:
    """A flood gets its limit, and at most what two gateways had not heard of more; a
    gateway that starts afterwards knows what was used.
    """
    clear, _ = await make_key(scene.url)
    settings = {"limits_defaults": f"key.requests_per_minute={LIMIT},tenant.tokens_per_minute=100000"}
    gateways: list[Gateway] = [await start_gateway(**settings) for _ in range(GATEWAYS)]
    await until(lambda: all(one.serving.peer_share.shares.live == GATEWAYS - 1 for one in gateways))
    async with AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(client_of(one, scene)) for one in gateways]
        for client in clients:
            client.headers["authorization"] = f"Bearer {clear}"
        answers = await flood(clients, scene, 200, 200)
        counts = Counter(answer.status_code for answer in answers)
        assert set(counts) == {200, 429}
        assert LIMIT <= counts[200] <= GATEWAYS * LIMIT + 1
        refused = next(answer for answer in answers if answer.status_code == 429)
        assert refused.json()["error"]["code"] == "rate_limit_exceeded"
        assert 0 < int(refused.headers["retry-after-ms"]) <= int(refused.headers["retry-after"]) * 1000
        served = next(answer for answer in answers if answer.status_code == 200)
        assert served.headers["x-ratelimit-limit-requests"] == str(LIMIT)
        assert int(served.headers["x-ratelimit-remaining-tokens"]) < 100_000
        late = await start_gateway(**settings)
        client = await stack.enter_async_context(client_of(late, scene))
        client.headers["authorization"] = f"Bearer {clear}"
        again = await flood([client], scene, 5, 100)
        assert Counter(answer.status_code for answer in again)[200] <= 1  # one slot every 5 s
        assert late.serving.admission.limiter.meters.of("tenant:acme:tokens", 0.0).held == 0
