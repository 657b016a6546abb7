"""The gateway's passage to the console, over real sockets, before an upstream that does
as it is told.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from aiohttp import web
from starlette.responses import PlainTextResponse

from services.common.http.access_log import AccessLogMiddleware
from services.common.http.protocol import HttpConfig
from services.common.http.responses import crash_response
from services.common.http.server import EmbeddedServer
from services.common.process import metrics
from services.gateway.http.console_proxy import ConsolePaths, ConsoleProxy
from services.gateway.settings import Settings
from tests.support.fake_console import FakeConsole


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


@pytest.fixture
async def console() -> AsyncIterator[FakeConsole]:
    """An upstream that answers 200 until a test says otherwise."""

    async def fine(_request: web.Request) -> web.StreamResponse:
        return web.json_response({"fine": True}, headers={"set-cookie": "a=b; HttpOnly"})

    fake = FakeConsole(fine)
    await fake.start()
    yield fake
    await fake.stop()


@pytest.mark.parametrize("path", ["/api", "/api/x", "/api/a%2Fb?c=%20d&e", "/dashboard", "/dashboard/p/q.js"])
async def test_consoles_paths_are_passed_on_as_they_came(console: FakeConsole, path: str) -> None:
    """Percent signs and query strings arrive byte for byte."""
    async with gateway(console.url) as client:
        answer = await client.get(path)
    assert answer.json() == {"fine": True}
    assert console.asked[0].raw_path == path
    assert answer.headers["set-cookie"] == "a=b; HttpOnly"
    assert len(answer.headers.get_list("x-request-id")) == len(answer.headers.get_list("date")) == 1


@pytest.mark.parametrize("path", ["/", "/apis", "/v1/api/x", "/dashboards", "/v1/models"])
async def test_other_paths_stay_with_the_gateway(console: FakeConsole, path: str) -> None:
    """Only whole prefixes are the console's."""
    async with gateway(console.url) as client:
        assert (await client.get(path)).text == "own"
    assert console.asked == []


async def test_path_with_dots_reaches_nothing_but_the_console(console: FakeConsole) -> None:
    """Dots are not resolved on the way: what is asked stays below its prefix or is the
    console's to refuse.
    """
    async with gateway(console.url) as client:
        reader, writer = await asyncio.open_connection("127.0.0.1", client.base_url.port)
        writer.write(b"GET /api/../../v1/x HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")
        await reader.read()
        writer.close()
    assert [request.raw_path for request in console.asked] == ["/api/../../v1/x"]


async def test_headers_of_the_connection_stay_and_forwarding_ones_are_ours(
    console: FakeConsole,
) -> None:
    """No client says who it is but by its connection, nor smuggles a header by naming
    it as its connection's.
    """
    async with gateway(console.url) as client:
        await client.post(
            "/api/x",
            content=b"body",
            headers={
                "connection": "x-secret, keep-alive",
                "x-secret": "1",
                "te": "trailers",
                "proxy-authorization": "Basic eA==",
                "x-forwarded-for": "6.6.6.6",
                "x-forwarded-proto": "https",
                "x-forwarded-user": "root",
                "forwarded": "for=6.6.6.6",
                "x-real-ip": "6.6.6.6",
                "authorization": "Bearer tsn_x",
                "cookie": "a=b; c=d",
                "host": "tocsin.example",
            },
        )
    headers = console.asked[0].headers
    assert headers.getall("x-forwarded-for") == ["127.0.0.1"]
    assert headers.getall("x-forwarded-proto") == ["http"]
    assert headers.getall("x-forwarded-host") == ["tocsin.example"]
    for name in ("x-secret", "te", "proxy-authorization", "forwarded", "x-real-ip", "x-forwarded-user"):
        assert name not in headers
    assert (headers["authorization"], headers["cookie"]) == ("Bearer tsn_x", "a=b; c=d")
    assert console.bodies == [b"body"]


@pytest.mark.parametrize(
    ("trusted", "sent", "told"),
    [
        ("127.0.0.0/8", ["198.51.100.7"], "198.51.100.7"),
        ("127.0.0.0/8", ["6.6.6.6, 198.51.100.7"], "198.51.100.7"),
        ("127.0.0.0/8", ["6.6.6.6", "198.51.100.7"], "198.51.100.7"),
        ("127.0.0.0/8,10.0.0.0/8", ["6.6.6.6, 198.51.100.7, 10.0.0.1"], "198.51.100.7"),
        ("127.0.0.0/8", [], "127.0.0.1"),
        ("10.0.0.0/8", ["198.51.100.7"], "127.0.0.1"),
        ("", ["198.51.100.7"], "127.0.0.1"),
    ],
)
async def test_console_is_told_whom_a_trusted_ingress_saw(
    console: FakeConsole, trusted: str, sent: list[str], told: str
) -> None:
    """And of no other chain: one address, which the console counts failures by."""
    headers = [("x-forwarded-for", one) for one in sent]
    headers += [("x-forwarded-proto", "https"), ("x-forwarded-host", "tocsin.example")]
    async with gateway(console.url, trusted_proxies=trusted) as client:
        await client.get("/api/x", headers=headers)
        port = client.base_url.port
    asked = console.asked[0].headers
    assert asked.getall("x-forwarded-for") == [told]
    is_trusted = trusted.startswith("127")
    assert asked.getall("x-forwarded-proto") == ["https" if is_trusted else "http"]
    assert asked.getall("x-forwarded-host") == ["tocsin.example" if is_trusted else f"127.0.0.1:{port}"]


async def test_each_event_arrives_before_the_next_is_sent(console: FakeConsole) -> None:
    """The upstream sends an event only when the client has said that it has the one
    before: a buffer anywhere would stop both.
    """
    received = asyncio.Semaphore(0)

    async def events(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await response.prepare(request)
        for number in range(20):
            await response.write(f"id: {number}\ndata: {'x' * number}\n\n".encode())
            await received.acquire()
        return response

    console.answer = events
    whole = ""
    async with (
        gateway(console.url) as client,
        asyncio.timeout(10),
        client.stream("GET", "/api/events") as answer,
    ):
        assert answer.headers["content-type"] == "text/event-stream"
        async for part in answer.aiter_text():
            whole += part
            for _ in range(part.count("\n\n")):
                received.release()
    assert whole == "".join(f"id: {number}\ndata: {'x' * number}\n\n" for number in range(20))


async def test_client_that_leaves_ends_the_consoles_work(console: FakeConsole) -> None:
    """An abandoned stream costs the console nothing."""
    begun = asyncio.Event()

    async def endless(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(b"first")
        begun.set()
        await asyncio.Event().wait()
        raise AssertionError

    console.answer = endless
    async with gateway(console.url) as client, asyncio.timeout(10):
        async with client.stream("GET", "/api/events") as answer:
            assert answer.status_code == 200
            await begun.wait()
        await console.left.wait()


async def test_client_that_leaves_before_the_answer_ends_the_consoles_work(console: FakeConsole) -> None:
    """Neither does a query whose asker has gone."""
    begun = asyncio.Event()

    async def silent(_request: web.Request) -> web.StreamResponse:
        begun.set()
        await asyncio.Event().wait()
        raise AssertionError

    console.answer = silent
    async with gateway(console.url) as client, asyncio.timeout(10):
        asking = asyncio.create_task(client.get("/api/slow"))
        await begun.wait()
        asking.cancel()
        await console.left.wait()


async def test_console_that_dies_mid_stream_breaks_the_answer_off(console: FakeConsole) -> None:
    """The client sees a broken answer, never a clean end; the gateway goes on."""

    async def dying(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(b"data: 1\n\n")
        assert request.transport is not None
        request.transport.close()
        await asyncio.sleep(0)
        return response

    console.answer = dying
    async with gateway(console.url) as client:
        with pytest.raises(httpx.RemoteProtocolError):
            async with client.stream("GET", "/api/events") as answer:
                assert [part async for part in answer.aiter_bytes()] == [b"data: 1\n\n"]
        assert (await client.get("/v1/models")).text == "own"


@pytest.mark.parametrize("path", ["/api/status", "/dashboard/"])
async def test_console_that_is_away_is_503_with_when_to_come_back(console: FakeConsole, path: str) -> None:
    """As a problem, with an id to look it up by."""
    await console.stop()
    async with gateway(console.url) as client:
        answer = await client.get(path)
    assert answer.status_code == 503
    assert answer.headers["content-type"] == "application/problem+json"
    assert int(answer.headers["retry-after"]) > 0
    assert answer.json()["code"] == "console_unavailable"
    assert answer.headers["x-request-id"].startswith("req-")


async def test_console_that_dies_before_its_answer_is_503_that_does_not_say_nothing_was_done(
    console: FakeConsole,
) -> None:
    """It may have done it."""

    async def dying(request: web.Request) -> web.StreamResponse:
        assert request.transport is not None
        request.transport.abort()
        await asyncio.sleep(0.05)
        return web.Response()

    console.answer = dying
    async with gateway(console.url) as client:
        answer = await client.post("/api/x", content=b"{}")
    assert answer.status_code == 503
    assert "not known" in answer.json()["detail"]


async def test_console_that_is_silent_is_504(console: FakeConsole) -> None:
    """Nobody waits for ever."""

    async def silent(_request: web.Request) -> web.StreamResponse:
        await asyncio.Event().wait()
        raise AssertionError

    console.answer = silent
    async with gateway(console.url, first_byte_s=0.2) as client:
        answer = await client.get("/api/x")
    assert (answer.status_code, answer.json()["code"]) == (504, "console_timeout")


async def test_stream_that_falls_silent_is_broken_off(console: FakeConsole) -> None:
    """A console that hangs holds no client for good."""

    async def hanging(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(b"first")
        await asyncio.Event().wait()
        raise AssertionError

    console.answer = hanging
    async with gateway(console.url, silence_s=0.3) as client:
        with pytest.raises(httpx.RemoteProtocolError):
            await client.get("/api/x")


async def test_gateway_without_a_console_says_which_setting_names_it() -> None:
    """An operator knows what to do."""
    async with gateway("") as client:
        answer = await client.get("/api/status")
    assert answer.status_code == 503
    assert "TOCSIN_CONSOLE_URL" in answer.json()["detail"]


async def test_body_that_is_too_large_never_reaches_the_console(console: FakeConsole) -> None:
    """The gateway's limit is the console's too."""
    async with gateway(console.url) as client:
        answer = await client.post("/api/x", content=b"x" * 100_001)
    assert answer.status_code == 413
    assert console.asked == []


async def test_more_requests_than_may_be_under_way_are_503(console: FakeConsole) -> None:
    """The gateway's memory is bounded, whatever the console does."""
    begun = asyncio.Event()

    async def silent(_request: web.Request) -> web.StreamResponse:
        begun.set()
        await asyncio.Event().wait()
        raise AssertionError

    console.answer = silent
    async with gateway(console.url, at_once=1) as client:
        first = asyncio.create_task(client.get("/api/x"))
        await begun.wait()
        assert (await client.get("/api/y")).status_code == 503
        first.cancel()
        await asyncio.gather(first, return_exceptions=True)
        async with asyncio.timeout(5):
            console.answer = _fine
            while (await client.get("/api/y")).status_code != 200:  # noqa: ASYNC110  the gateway must notice
                await asyncio.sleep(0.01)


@contextlib.asynccontextmanager
async def dripping(
    client: httpx.AsyncClient, *, begun: bytes = b"x", came_from: str = ""
) -> AsyncIterator[Any]:
    """A request whose body has begun and does not go on."""
    reader, writer = await asyncio.open_connection("127.0.0.1", client.base_url.port)
    origin = f"x-forwarded-for: {came_from}\r\n" if came_from else ""
    head = f"POST /api/x HTTP/1.1\r\nhost: a\r\n{origin}content-length: 90000\r\n\r\n"
    writer.write(head.encode() + begun)
    await writer.drain()
    try:
        yield reader
    finally:
        writer.close()


async def status_of(reader: asyncio.StreamReader) -> int:
    """The status of an answer on a bare connection."""
    async with asyncio.timeout(10):
        return int((await reader.readline()).split()[1])


async def test_body_that_drips_takes_no_place_at_the_console(console: FakeConsole) -> None:
    """Others are served meanwhile; its own time is limited."""
    async with gateway(console.url, at_once=1, body_timeout_s=0.5) as client, dripping(client) as reader:
        for _ in range(3):
            assert (await client.post("/api/y", content=b"z")).status_code == 200
        assert await status_of(reader) == 408
    assert console.bodies == [b"z"] * 3


async def test_bodies_that_are_coming_are_bounded_and_by_address_too(console: FakeConsole) -> None:
    """Requests without a body go on all the while; so do those of other addresses."""
    async with (
        gateway(console.url, bodies_at_once=8, trusted_proxies="127.0.0.0/8") as client,
        contextlib.AsyncExitStack() as stack,
    ):
        for _ in range(2):
            await stack.enter_async_context(dripping(client, came_from="198.51.100.7"))

        async def post(came_from: str) -> int:
            there = {"x-forwarded-for": came_from}
            return (await client.post("/api/y", content=b"z", headers=there)).status_code

        async with asyncio.timeout(5):
            while await post("198.51.100.7") != 429:  # noqa: ASYNC110  the gateway must see the two
                await asyncio.sleep(0.01)
        assert await post("198.51.100.8") == 200
        there = {"x-forwarded-for": "198.51.100.7"}
        assert (await client.get("/api/y", headers=there)).status_code == 200
        for number in range(6):
            await stack.enter_async_context(dripping(client, came_from=f"203.0.113.{number}"))
        async with asyncio.timeout(5):
            while await post("198.51.100.8") != 503:  # noqa: ASYNC110  the gateway must see the six
                await asyncio.sleep(0.01)
        assert (await client.get("/api/y")).status_code == 200
    async with gateway(console.url, bodies_at_once=4) as client:
        for _ in range(5):
            async with dripping(client):  # whoever leaves gives its place back
                pass
        async with asyncio.timeout(5):
            while (await client.post("/api/y", content=b"z")).status_code != 200:  # noqa: ASYNC110  the same
                await asyncio.sleep(0.01)


async def test_bytes_of_bodies_are_bounded(console: FakeConsole) -> None:
    """Whoever brings more is refused, and what leaves makes room."""
    async with gateway(console.url, bodies_bytes=100_000) as client:
        async with dripping(client, begun=b"x" * 60_000), asyncio.timeout(5):
            while (await client.post("/api/y", content=b"z" * 50_000)).status_code != 503:  # noqa: ASYNC110  it must have come
                await asyncio.sleep(0.01)
            assert (await client.post("/api/y", content=b"z" * 20_000)).status_code == 200
        async with asyncio.timeout(5):
            while (await client.post("/api/y", content=b"z" * 50_000)).status_code != 200:  # noqa: ASYNC110  the same
                await asyncio.sleep(0.01)


async def test_address_with_its_share_of_exchanges_leaves_the_others_theirs(console: FakeConsole) -> None:
    """One that holds streams open keeps nobody else from logging in."""
    begun = asyncio.Semaphore(0)

    async def silent(_request: web.Request) -> web.StreamResponse:
        begun.release()
        await asyncio.Event().wait()
        raise AssertionError

    console.answer = silent
    async with gateway(console.url, at_once=8, trusted_proxies="127.0.0.0/8") as client:
        greedy = {"x-forwarded-for": "2001:db8::1"}
        holding = [asyncio.create_task(client.get("/api/x", headers=greedy)) for _ in range(2)]
        for _ in holding:
            await begun.acquire()
        console.answer = _fine
        neighbour = {"x-forwarded-for": "2001:db8::2"}
        refused = await client.get("/api/x", headers=neighbour)
        assert (refused.status_code, refused.json()["code"]) == (429, "rate_limit_exceeded")
        assert (await client.get("/api/x", headers={"x-forwarded-for": "2001:db8:0:1::1"})).status_code == 200
        for one in holding:
            one.cancel()
        await asyncio.gather(*holding, return_exceptions=True)


async def test_compressed_answers_head_and_redirects_pass_unchanged(console: FakeConsole) -> None:
    """The passage neither unpacks nor follows anything."""

    async def answer(request: web.Request) -> web.StreamResponse:
        if request.method == "HEAD":
            return web.Response(headers={"content-length": "7"})
        return web.Response(
            status=307, body=b"\x1f\x8b odd", headers={"content-encoding": "br", "location": "/x"}
        )

    console.answer = answer
    async with gateway(console.url) as client:
        async with client.stream("GET", "/api/x") as got:
            raw = b"".join([part async for part in got.aiter_raw()])
        head = await client.head("/api/x")
    assert (got.status_code, got.headers["location"], raw) == (307, "/x", b"\x1f\x8b odd")
    assert (head.status_code, head.headers["content-length"], head.content) == (200, "7", b"")


async def _fine(_request: web.Request) -> web.StreamResponse:
    return web.Response()
