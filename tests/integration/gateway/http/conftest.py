"""The console behind the gateway."""

from collections.abc import AsyncIterator

import pytest
from aiohttp import web

from tests.support.console.fake import FakeConsole


@pytest.fixture
async def console() -> AsyncIterator[FakeConsole]:
    """An upstream that answers 200 until a test says otherwise."""

    async def fine(_request: web.Request) -> web.StreamResponse:
        return web.json_response({"fine": True}, headers={"set-cookie": "a=b; HttpOnly"})

    fake = FakeConsole(fine)
    await fake.start()
    yield fake
    await fake.stop()
