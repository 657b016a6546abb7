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
