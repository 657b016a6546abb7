"""A gateway of which only the passage to the console is there."""

import contextlib
from collections.abc import AsyncIterator
from typing import Any

import httpx
from starlette.responses import PlainTextResponse

from services.common.http.access_log import AccessLogMiddleware
from services.common.http.protocol import HttpConfig
from services.common.http.responses import crash_response
from services.common.http.server import EmbeddedServer
from services.common.process import metrics
from services.gateway.http.console_proxy import ConsolePaths, ConsoleProxy
from services.gateway.settings import Settings


@contextlib.asynccontextmanager
async def gateway(
    console_url: str, *, trusted_proxies: str = "", body_timeout_s: float = 20.0, **proxy: Any
) -> AsyncIterator[httpx.AsyncClient]:
    """A gateway of which only the passage is there; everything else answers `own`."""
    settings = Settings(
        console_url=console_url,
        key_pepper="a pepper for the tests only",
        pseudonym_key="a pseudonym key for tests",
        max_body_bytes=100_000,
        trusted_proxies=trusted_proxies,
        body_timeout_s=body_timeout_s,
    )
    passage = ConsoleProxy(settings, **proxy)
    app = AccessLogMiddleware(
        ConsolePaths(PlainTextResponse("own"), passage),
        crash_response,
        requests=metrics.GATEWAY_REQUESTS,
        seconds=metrics.GATEWAY_SECONDS,
    )
    server = EmbeddedServer(HttpConfig(app, host="127.0.0.1", port=0, timeout_graceful_shutdown=1))
    await server.start()
    try:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{server.port}", timeout=20) as client:
            yield client
    finally:
        await server.close()
        await passage.close()
