"""Passes /api and /dashboard on to the console, so that users see one address.

Answers pass as they come: each event of an event stream before the next is there. What
a client says of itself in forwarding headers is not believed; whoever leaves ends the
console's work too.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Coroutine, Iterable
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import structlog
import yarl
from starlette.requests import Request
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from schemas.errors import ErrorCode
from services.common.http.access_log import bind_log_fields
from services.common.http.problems import Problem, ProblemError, unavailable
from services.common.http.request_body import read_body
from services.common.http.responses import on_problem
from services.gateway.settings import Settings

log = structlog.get_logger(__name__)

Headers = list[tuple[bytes, bytes]]

_PREFIXES = ("/api", "/dashboard")
_HOP_BY_HOP = frozenset(
    {
        *(b"connection", b"keep-alive", b"proxy-authenticate", b"proxy-authorization", b"proxy-connection"),
        *(b"te", b"trailer", b"transfer-encoding", b"upgrade", b"expect"),
    }
)
_NOT_ASKED_ON = _HOP_BY_HOP | {b"host", b"content-length", b"forwarded", b"x-real-ip", b"http2-settings"}
_NOT_ANSWERED_ON = _HOP_BY_HOP | {b"date", b"server", b"x-request-id", b"openai-processing-ms"}
_CONNECT_S = 2.0
_FIRST_BYTE_S = 30.0
_SILENCE_S = 75.0
_AT_ONCE = 256


@dataclass
class ConsoleProxy:
    """One console, by its address; none where the address is empty.

    At most `at_once` requests are under way; further ones get 503.
    """

    settings: Settings
    first_byte_s: float = _FIRST_BYTE_S
    silence_s: float = _SILENCE_S
    at_once: int = _AT_ONCE
    _under_way: int = field(default=0, init=False)
    _session: aiohttp.ClientSession | None = field(default=None, init=False)

    async def close(self) -> None:
        """Disconnects."""
        if self._session is not None:
            await self._session.close()

    async def forward(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Asks the console in a client's name and passes its answer on.

        An answer that breaks off is broken off: the connection ends without its end.

        Raises:
            ProblemError: nothing was sent yet, and the console is away (503), silent
                (504) or busy (503), or the body is too large or slow.
        """
        if self._under_way >= self.at_once:
            raise unavailable(
                f"{self.at_once} requests to the console are under way. Try again.", code=ErrorCode.OVERLOADED
            )
        self._under_way += 1
        try:
            request = Request(scope, receive)
            body = await read_body(request, self.settings.max_body_bytes, self.settings.body_timeout_s)
            await _unless_left(receive, self._exchange(scope, body, send))
        finally:
            self._under_way -= 1

    async def _exchange(self, scope: Scope, body: bytes, send: Send) -> None:
        async with self._ask(scope, body) as response:
            headers = _kept(response.raw_headers, _NOT_ANSWERED_ON)
            if (request_id := response.headers.get("x-request-id")) is not None:
                bind_log_fields(scope, request_id=request_id)
            await send({"type": "http.response.start", "status": response.status, "headers": headers})
            try:
                async for part in response.content.iter_any():
                    await send({"type": "http.response.body", "body": part, "more_body": True})
            except (aiohttp.ClientError, TimeoutError, OSError) as error:
                log.warning("console_broke_off", path=scope["path"], error=repr(error))
                return
            await send({"type": "http.response.body", "body": b"", "more_body": False})

    @contextlib.asynccontextmanager
    async def _ask(self, scope: Scope, body: bytes) -> AsyncIterator[aiohttp.ClientResponse]:
        """The console's answer, of which only the head has come."""
        asking = self._connected().request(
            scope["method"],
            self._url(scope),
            data=body or None,
            headers=[(name.decode("latin-1"), value.decode("latin-1")) for name, value in _asked_on(scope)],
            allow_redirects=False,
        )
        try:
            async with asyncio.timeout(self.first_byte_s):
                response = await asking
        except aiohttp.ClientConnectorError as error:
            raise unavailable(
                "The console is away; nothing was done. Try again.",
                code=ErrorCode.CONSOLE_UNAVAILABLE,
                retry_after_s=2,
            ) from error
        except TimeoutError as error:
            raise ProblemError(
                Problem(
                    504,
                    ErrorCode.CONSOLE_TIMEOUT,
                    f"The console did not answer within {self.first_byte_s:g} s; "
                    "whether it did what was asked is not known.",
                )
            ) from error
        except (aiohttp.ClientError, OSError) as error:
            raise unavailable(
                "The console went away; whether it did what was asked is not known. Look, then try again.",
                code=ErrorCode.CONSOLE_UNAVAILABLE,
                retry_after_s=2,
            ) from error
        try:
            yield response
        finally:
            response.close()  # where the whole answer was read, the connection went back before

    def _url(self, scope: Scope) -> yarl.URL:
        raw = scope.get("raw_path") or scope["path"].encode()
        query = f"?{scope['query_string'].decode('latin-1')}" if scope["query_string"] else ""
        return yarl.URL(
            f"{self.settings.console_url.rstrip('/')}{raw.decode('latin-1')}{query}", encoded=True
        )

    def _connected(self) -> aiohttp.ClientSession:
        if not self.settings.console_url:
            raise unavailable(
                "This gateway knows no console; TOCSIN_CONSOLE_URL names it.",
                code=ErrorCode.CONSOLE_UNAVAILABLE,
                retry_after_s=60,
            )
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=15),
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,
                skip_auto_headers=("user-agent", "accept", "accept-encoding", "content-type"),
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_S, sock_read=self.silence_s),
            )
        return self._session


class ConsolePaths:
    """ASGI: has the console answer what is its own, hands everything else on."""

    def __init__(self, app: ASGIApp, proxy: ConsoleProxy) -> None:
        self._app = app
        self._proxy = proxy
        self._routes = {prefix: Route(prefix + "/{path:path}", self._proxy.forward) for prefix in _PREFIXES}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves one request."""
        prefix = _prefix_of(scope["path"]) if scope["type"] == "http" else None
        if prefix is None:
            await self._app(scope, receive, send)
            return
        scope["route"] = self._routes[prefix]  # what the access log calls it
        try:
            await self._proxy.forward(scope, receive, send)
        except ProblemError as error:
            response = await on_problem(Request(scope, receive), error)
            await response(scope, receive, send)


def _prefix_of(path: str) -> str | None:
    for prefix in _PREFIXES:
        if path == prefix or path.startswith(f"{prefix}/"):
            return prefix
    return None


async def _unless_left(receive: Receive, exchange: Coroutine[Any, Any, None]) -> None:
    """Works until it is done or the client has left, which ends it at once."""
    working = asyncio.ensure_future(exchange)
    leaving = asyncio.ensure_future(_left(receive))
    try:
        await asyncio.wait({working, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            working.result()
    finally:
        working.cancel()
        leaving.cancel()
        await asyncio.gather(working, leaving, return_exceptions=True)


async def _left(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def _asked_on(scope: Scope) -> Headers:
    """What the console is told: the client's headers without those of its connection,
    and who it is as this gateway sees it.
    """
    headers = [
        (name, value)
        for name, value in _kept(scope["headers"], _NOT_ASKED_ON)
        if not name.startswith(b"x-forwarded-")
    ]
    host = next((value for name, value in scope["headers"] if name == b"host"), b"")
    client = scope["client"][0] if scope.get("client") else ""
    return [
        *headers,
        (b"x-forwarded-for", client.encode()),
        (b"x-forwarded-proto", scope["scheme"].encode()),
        (b"x-forwarded-host", host),
    ]


def _kept(headers: Iterable[tuple[bytes, bytes]], without: frozenset[bytes]) -> Headers:
    """Headers without those of one connection (RFC 9110, section 7.6.1), which its
    Connection header may name too.
    """
    listed = [(name.lower(), value) for name, value in headers]
    named = {
        one.strip().lower() for name, value in listed if name == b"connection" for one in value.split(b",")
    }
    return [(name, value) for name, value in listed if name not in without and name not in named]
