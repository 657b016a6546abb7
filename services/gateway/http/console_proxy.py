"""Passes /api and /dashboard on to the console, so that users see one address.

Answers pass as they come: each event of an event stream before the next is there. Who a
client is, is told by its connection, or by an ingress that is trusted, never by itself;
a client that leaves ends the console's work too. No client can take all of the passage:
bodies that come and exchanges with the console are counted apart, in all and by tenant,
or by address where the tenant is not known here.
"""

import asyncio
import contextlib
import functools
from collections.abc import AsyncIterator, Coroutine, Iterable, Sequence
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
from services.common.http.forwarding import Network, client_network, client_of, header_values, is_trusted
from services.common.http.problems import Problem, ProblemError, unavailable
from services.common.http.request_body import read_body
from services.common.http.responses import on_problem
from services.gateway.http.console_limits import BodyMemory, ConcurrencyLimit
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
_BODIES_AT_ONCE = 128
_BODIES_BYTES = 64 * 1024 * 1024
_CLIENTS_SHARE = 4
"""A client has a quarter of what there is: many people may share an address."""


@dataclass
class ConsoleProxy:
    """One console, by its address; none where the address is empty.

    At most `at_once` requests are with the console, and `bodies_at_once` bodies are
    coming; further ones get 503, those of a client that has its share 429.
    """

    settings: Settings
    first_byte_s: float = _FIRST_BYTE_S
    silence_s: float = _SILENCE_S
    at_once: int = _AT_ONCE
    bodies_at_once: int = _BODIES_AT_ONCE
    bodies_bytes: int = _BODIES_BYTES
    _exchanges: ConcurrencyLimit = field(init=False)
    _bodies: ConcurrencyLimit = field(init=False)
    _memory: BodyMemory = field(init=False)
    _trusted: tuple[Network, ...] = field(init=False)
    _session: aiohttp.ClientSession | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        self._exchanges = ConcurrencyLimit(
            "requests to the console are under way", self.at_once, max(1, self.at_once // _CLIENTS_SHARE)
        )
        self._bodies = ConcurrencyLimit(
            "bodies of requests to the console are coming",
            self.bodies_at_once,
            max(1, self.bodies_at_once // _CLIENTS_SHARE),
        )
        self._memory = BodyMemory(self.bodies_bytes, self.settings.max_body_bytes)
        self._trusted = self.settings.proxy_networks

    async def close(self) -> None:
        """Disconnects."""
        if self._session is not None:
            await self._session.close()

    def forward_of(self, tenant: str) -> ASGIApp:
        """The same as `forward` for a caller whose tenant is known: what it takes of the
        passage counts as the tenant's, not as everybody's at its address.
        """
        return functools.partial(self.forward, tenant=tenant)

    async def forward(self, scope: Scope, receive: Receive, send: Send, *, tenant: str = "") -> None:
        """Asks the console in a client's name and passes its answer on.

        An answer that breaks off is broken off: the connection ends without its end.

        Raises:
            ProblemError: nothing was sent yet, and the console is away (503), silent
                (504) or busy (503, or 429 by this client), or the body is too large or
                slow.
        """
        client = client_of(scope, self._trusted)
        subscriber = f"tenant {tenant}" if tenant else f"address {client_network(client)}"
        with self._memory.counted(receive) as counting:
            body = b""
            if _has_body(scope):
                with self._bodies.acquire(subscriber):
                    body = await read_body(
                        Request(scope, counting), self.settings.max_body_bytes, self.settings.body_timeout_s
                    )
            with self._exchanges.acquire(subscriber):
                await _unless_left(receive, self._exchange(scope, client, body, send))

    async def _exchange(self, scope: Scope, client: str, body: bytes, send: Send) -> None:
        async with self._ask(scope, client, body) as response:
            headers = _kept(response.raw_headers, _NOT_ANSWERED_ON)
            if (request_id := response.headers.get("x-request-id")) is not None:
                bind_log_fields(scope, request_id=request_id, logged_by="console")
            await send({"type": "http.response.start", "status": response.status, "headers": headers})
            try:
                async for part in response.content.iter_any():
                    await send({"type": "http.response.body", "body": part, "more_body": True})
            except (aiohttp.ClientError, TimeoutError, OSError) as error:
                log.warning("console_broke_off", path=scope["path"], error=repr(error))
                return
            await send({"type": "http.response.body", "body": b"", "more_body": False})

    @contextlib.asynccontextmanager
    async def _ask(self, scope: Scope, client: str, body: bytes) -> AsyncIterator[aiohttp.ClientResponse]:
        """The console's answer, of which only the head has come."""
        asking = self._connected().request(
            scope["method"],
            self._url(scope),
            data=body or None,
            headers=[
                (name.decode("latin-1"), value.decode("latin-1"))
                for name, value in _asked_on(scope, client, self._trusted)
            ],
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


def _has_body(scope: Scope) -> bool:
    return any(
        (name == b"content-length" and value.strip(b"0 ")) or name == b"transfer-encoding"
        for name, value in scope["headers"]
    )


def _asked_on(scope: Scope, client: str, trusted: Sequence[Network]) -> Headers:
    """What the console is told: the client's headers without those of its connection,
    and who it is.

    The chain before this gateway is left out: it has been judged here, where it is known
    which ingresses there are.
    """
    headers = [
        (name, value)
        for name, value in _kept(scope["headers"], _NOT_ASKED_ON)
        if not name.startswith(b"x-forwarded-")
    ]
    host = next((value for name, value in scope["headers"] if name == b"host"), b"")
    proto = scope["scheme"]
    if scope.get("client") and is_trusted(scope["client"][0], trusted):
        host = next((value for name, value in scope["headers"] if name == b"x-forwarded-host"), host)
        told = next(iter(header_values(scope, b"x-forwarded-proto")), "").lower()
        proto = told if told in ("http", "https") else proto
    return [
        *headers,
        (b"x-forwarded-for", client.encode()),
        (b"x-forwarded-proto", proto.encode()),
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
