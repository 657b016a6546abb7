"""What the gateway's passage to the console holds at once: bodies, bytes, exchanges."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import httpx
from aiohttp import web

from tests.support.console.fake import FakeConsole
from tests.support.console.passage import gateway


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


async def _fine(_request: web.Request) -> web.StreamResponse:
    return web.Response()
