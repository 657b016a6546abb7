"""POST /v1/feedback at the gateway: who may, and that the console hears of it."""

import asyncio

from aiohttp import web

from schemas.control import Scope
from tests.integration.gateway.conftest import Scene, StartGateway, client_of
from tests.support.console.fake import FakeConsole
from tests.support.control import make_key


async def test_rating_of_a_good_key_reaches_the_console_as_it_came(
    scene: Scene, start_gateway: StartGateway
) -> None:
    """With the caller's own key, which the console checks again."""

    async def taken(_request: web.Request) -> web.StreamResponse:
        return web.json_response({"id": "f1"}, status=201)

    console = FakeConsole(taken)
    await console.start()
    try:
        async with client_of(await start_gateway(console_url=console.url), scene) as client:
            answer = await client.post("/v1/feedback", content=b'{"request_id": "r", "rating": 1}')
    finally:
        await console.stop()
    assert (answer.status_code, answer.json()) == (201, {"id": "f1"})
    assert console.bodies == [b'{"request_id": "r", "rating": 1}']
    assert console.asked[0].headers["authorization"] == f"Bearer {scene.key}"


async def test_rating_without_the_right_to_is_refused_at_the_door(
    scene: Scene, start_gateway: StartGateway
) -> None:
    """No key, or one for inference only; and without a console 503 in OpenAI's form."""
    clear, _ = await make_key(scene.url, scopes=(Scope.INFER,))
    async with client_of(await start_gateway(), scene) as client:
        async with asyncio.timeout(10):
            bare = {"authorization": f"Bearer {clear}"}
            while (refused := await client.post("/v1/feedback", headers=bare)).status_code != 403:  # noqa: ASYNC110
                await asyncio.sleep(0.02)
        assert refused.json()["error"]["code"] == "insufficient_permissions"
        assert (await client.post("/v1/feedback", headers={"authorization": ""})).status_code == 401
        away = await client.post("/v1/feedback", json={"request_id": "r", "rating": 1})
    assert (away.status_code, away.json()["error"]["code"]) == (503, "console_unavailable")


async def test_flood_of_one_tenants_ratings_costs_its_neighbours_nothing(
    scene: Scene, start_gateway: StartGateway
) -> None:
    """Its share of the passage is its own: another tenant at the same address, and a
    person without a key, pass.
    """
    clear, _ = await make_key(scene.url, tenant="neighbour")
    held, come = asyncio.Event(), asyncio.Event()

    async def hold(request: web.Request) -> web.StreamResponse:
        if request.headers.get("x-hold"):
            come.set()
            await held.wait()
        return web.json_response({"id": "f1"}, status=201)

    console = FakeConsole(hold)
    await console.start()
    try:
        gateway = await start_gateway(console_url=console.url)
        gateway.serving.console._exchanges.per_client = 1
        async with client_of(gateway, scene) as client, asyncio.timeout(20):
            rating = {"request_id": "r", "rating": 1}
            flood = asyncio.create_task(client.post("/v1/feedback", json=rating, headers={"x-hold": "1"}))
            await come.wait()
            refused = await client.post("/v1/feedback", json=rating)
            neighbour = {"authorization": f"Bearer {clear}"}
            other = await client.post("/v1/feedback", json=rating, headers=neighbour)
            person = await client.get("/api/status", headers={"authorization": ""})
            held.set()
            assert (await flood).status_code == 201
    finally:
        await console.stop()
    assert (refused.status_code, other.status_code, person.status_code) == (429, 201, 201)
    assert "from this tenant" in refused.json()["error"]["message"]
