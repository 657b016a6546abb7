"""Reading an identity provider's keys over HTTP, in the background."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import orjson
import pytest
from aiohttp import web

from services.common.control.access.jwks import JwksKeys
from services.common.control.access.signatures import VerifyingKey
from services.common.control.authentication import Refusal
from services.common.process.egress import Egress
from tests.support.issuer import jwk

ALL = ("RS256", "ES256", "EdDSA")


@dataclass
class FakeIssuer:
    """A web server that answers with whatever the test wants."""

    answer: Callable[[], Any] = lambda: {"keys": [jwk("ES256")]}
    status: int = 200
    delay_s: float = 0.0
    asked: int = 0
    url: str = ""
    seconds: float = 0.0
    keys: JwksKeys = field(init=False)

    async def serve(self, _request: web.Request) -> web.StreamResponse:
        self.asked += 1
        await asyncio.sleep(self.delay_s)
        said = self.answer()
        body = said if isinstance(said, bytes) else orjson.dumps(said)
        headers = {"location": self.url} if self.status == 302 else {}
        return web.Response(status=self.status, body=body, headers=headers)


@pytest.fixture
async def issuer() -> AsyncIterator[FakeIssuer]:
    """An issuer on loopback, and what reads its keys by the test's clock."""
    fake = FakeIssuer()
    app = web.Application()
    app.router.add_get("/jwks", fake.serve)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = site._server.sockets[0].getsockname()[1]  # type: ignore[union-attr]
    fake.url = f"http://127.0.0.1:{port}/jwks"
    fake.keys = JwksKeys(fake.url, ALL, lambda: fake.seconds, egress=Egress.of("127.0.0.1"))
    yield fake
    await runner.cleanup()


@contextlib.asynccontextmanager
async def session(timeout_s: float = 10.0) -> AsyncIterator[aiohttp.ClientSession]:
    """A client that waits so long."""
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=timeout_s)) as opened:
        yield opened


def is_known(issuer: FakeIssuer, key_id: str | None) -> bool | Refusal:
    """Whether a key id is known, or why not."""
    found = issuer.keys.find(key_id)
    return True if isinstance(found, VerifyingKey) else found


async def test_keys_are_kept_while_the_issuer_is_away(issuer: FakeIssuer) -> None:
    """Whatever it answers meanwhile, and however long it takes."""
    assert is_known(issuer, "ec-0") is Refusal.ISSUER_KEYS
    async with session() as opened:
        await issuer.keys.refresh(opened)
        assert is_known(issuer, "ec-0") is True
        assert is_known(issuer, None) is True
        for answer, status in (
            (lambda: {"keys": [jwk("ES256", 1)]}, 500),
            (lambda: {"keys": [jwk("ES256", 1)]}, 302),
            (lambda: b"<html>", 200),
            (lambda: {"keys": {}}, 200),
            (list, 200),
            (lambda: {"keys": []}, 200),
            (lambda: {"keys": [{"kty": "oct", "k": "c2VjcmV0", "kid": "ec-0"}, 7, None]}, 200),
            (lambda: {"keys": [jwk("ES256", 1)], "more": "x" * 300_000}, 200),
        ):
            issuer.answer, issuer.status = answer, status
            await issuer.keys.refresh(opened)
            assert (is_known(issuer, "ec-0"), issuer.keys.version) == (True, 1), (answer(), status)
    issuer.delay_s = 0.6
    async with session(timeout_s=0.1) as impatient:
        await issuer.keys.refresh(impatient)
    assert is_known(issuer, "ec-0") is True


async def test_unknown_key_id_asks_the_issuer_at_most_once_in_a_while(issuer: FakeIssuer) -> None:
    """A stranger's key ids do not become requests to the issuer."""
    async with session() as opened:
        await issuer.keys.refresh(opened)
    assert is_known(issuer, "made-up") is Refusal.INVALID_TOKEN
    issuer.seconds = issuer.keys.pause_s
    assert is_known(issuer, "made-up") is Refusal.ISSUER_KEYS
    async with session() as opened:
        await issuer.keys.refresh(opened)
    assert is_known(issuer, "made-up") is Refusal.INVALID_TOKEN
    assert issuer.asked == 2


async def test_rotated_keys_come_and_old_ones_go(issuer: FakeIssuer) -> None:
    """With them what was let in by them: the version tells."""
    async with session() as opened:
        await issuer.keys.refresh(opened)
        await issuer.keys.refresh(opened)
        assert issuer.keys.version == 1
        issuer.answer = lambda: {"keys": [jwk("ES256", 1), jwk("RS256")]}
        await issuer.keys.refresh(opened)
    assert issuer.keys.version == 2
    assert is_known(issuer, "ec-1") is True
    assert is_known(issuer, "rsa-0") is True
    assert is_known(issuer, "ec-0") is Refusal.INVALID_TOKEN
    assert is_known(issuer, None) is Refusal.INVALID_TOKEN


async def test_new_key_is_known_soon_after_its_first_token(issuer: FakeIssuer) -> None:
    """The background reads as soon as it is asked, and not at all otherwise."""
    issuer.keys.pause_s = 0.0
    issuer.keys.refresh_s = 3600.0
    following = asyncio.create_task(issuer.keys.run())
    try:
        async with asyncio.timeout(10):
            while is_known(issuer, "ec-0") is not True:  # noqa: ASYNC110  nobody tells
                await asyncio.sleep(0.005)
            issuer.answer = lambda: {"keys": [jwk("ES256", 1)]}
            while is_known(issuer, "ec-1") is not True:  # noqa: ASYNC110  nobody tells
                await asyncio.sleep(0.005)
    finally:
        following.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await following


async def test_issuer_on_a_private_address_is_not_read_unless_its_network_is_allowed(
    issuer: FakeIssuer,
) -> None:
    """Neither by its address nor by a name for it."""
    for url in (issuer.url, issuer.url.replace("127.0.0.1", "localhost")):
        for egress, asked in ((Egress(), 0), (Egress.of("127.0.0.1,::1"), 1)):
            issuer.asked = 0
            keys = JwksKeys(url, ALL, lambda: 0.0, egress=egress)
            async with keys.session() as session:
                await keys.refresh(session)
            assert (issuer.asked, keys.version) == (asked, asked)
