"""The gateway's passage to the console, over real sockets, before an upstream that does
as it is told.
"""

import asyncio

import httpx
import pytest
from aiohttp import web

from tests.support.console.fake import FakeConsole
from tests.support.console.passage import gateway


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
