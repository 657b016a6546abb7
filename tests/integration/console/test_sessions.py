"""Logging in with a key, and what a session may do."""

import asyncio

import httpx
import pytest

from schemas.control import Scope
from services.common.control import changes
from tests.integration.console.conftest import READ, Platform, StartConsole, bearer
from tests.support.console.passage import gateway
from tests.support.control import control_writer, make_key

_LOGIN = "/api/auth/session"
WRONG = {"key": "tsn_abcdefgh_" + "y" * 43}
WRONG_TOO = {"key": "tsn_hgfedcba_" + "y" * 43}


async def log_in(client: httpx.AsyncClient, key: str) -> dict[str, str]:
    """Opens a session, which the client keeps as a browser does."""
    answer = await client.post(_LOGIN, json={"key": key})
    assert answer.status_code == 200, answer.text
    return answer.json()


async def test_session_reads_what_its_key_may(platform: Platform, client: httpx.AsyncClient) -> None:
    """The cookie is hidden from scripts and from other sites."""
    answer = await client.post(_LOGIN, json={"key": platform.reader})
    cookie = answer.headers["set-cookie"]
    assert {"HttpOnly", "SameSite=strict", "Path=/"} <= set(cookie.split("; "))
    assert "Secure" not in cookie  # reached over loopback
    assert answer.json()["tenant"] == "acme"
    assert platform.reader not in answer.text
    assert platform.reader.split("_", 2)[2] not in cookie
    assert (await client.get("/api/status")).status_code == 200
    assert (await client.get(_LOGIN)).json()["csrf_token"] == answer.json()["csrf_token"]


@pytest.mark.parametrize("host", ["tocsin.example", "192.168.1.5:8000", "tocsin.example:443"])
async def test_cookie_goes_over_https_only_unless_on_loopback(
    platform: Platform, client: httpx.AsyncClient, host: str
) -> None:
    """However the console is reached from elsewhere."""
    answer = await client.post(_LOGIN, json={"key": platform.reader}, headers={"x-forwarded-host": host})
    assert "Secure" in answer.headers["set-cookie"]


@pytest.mark.parametrize("key", ["", "tsn_x1", "tsn_abcdefgh_" + "x" * 43, "x" * 300])
async def test_unknown_key_opens_no_session(client: httpx.AsyncClient, key: str) -> None:
    """401, or 400 where it is far too long to be one; never what was sent."""
    answer = await client.post(_LOGIN, json={"key": key})
    assert answer.status_code == (400 if len(key) > 256 else 401)
    assert "set-cookie" not in answer.headers
    assert not key or key not in answer.text


async def test_key_without_the_scope_opens_no_session(platform: Platform, client: httpx.AsyncClient) -> None:
    """A key for inference is none for the console."""
    assert (await client.post(_LOGIN, json={"key": platform.infer_only})).status_code == 403


async def test_change_in_a_sessions_name_needs_its_token(
    platform: Platform, client: httpx.AsyncClient
) -> None:
    """Another site can send the cookie, not what it cannot read."""
    session = await log_in(client, platform.reader)
    assert (await client.delete(_LOGIN)).json()["code"] == "csrf_failed"
    token = {"x-csrf-token": session["csrf_token"]}
    cross = await client.delete(_LOGIN, headers=token | {"sec-fetch-site": "cross-site"})
    assert cross.status_code == 403
    assert (await client.get("/api/status")).status_code == 200
    assert (await client.delete(_LOGIN, headers=token)).status_code == 204


async def test_login_from_another_site_is_refused(platform: Platform, client: httpx.AsyncClient) -> None:
    """Nobody is logged in as somebody else unawares."""
    answer = await client.post(
        _LOGIN, json={"key": platform.reader}, headers={"sec-fetch-site": "cross-site"}
    )
    assert answer.status_code == 403


async def test_logging_out_ends_a_copied_cookie_too(platform: Platform, client: httpx.AsyncClient) -> None:
    """The browser forgets it, and so does whoever copied it."""
    session = await log_in(client, platform.reader)
    copied = {"cookie": f"tocsin_session={client.cookies['tocsin_session']}"}
    await client.delete(_LOGIN, headers={"x-csrf-token": session["csrf_token"]})
    assert "tocsin_session" not in client.cookies
    assert (await client.get("/api/status", headers=copied)).status_code == 401


async def test_logging_out_holds_at_every_console_and_after_restarts(
    platform: Platform, start_console: StartConsole
) -> None:
    """At another console within a moment, at one that starts later from its first
    answer on; other sessions of the key go on.
    """
    first, second = await start_console(), await start_console()
    session = await log_in(first, platform.reader)
    copied = {"cookie": f"tocsin_session={first.cookies['tocsin_session']}"}
    assert (await second.get("/api/status", headers=copied)).status_code == 200
    ended = await first.delete(_LOGIN, headers={"x-csrf-token": session["csrf_token"]})
    assert ended.status_code == 204
    await _until(second, copied, 401)
    later = await start_console()
    assert (await later.get("/api/status", headers=copied)).status_code == 401
    await log_in(later, platform.reader)
    assert (await later.get("/api/status")).status_code == 200


async def test_session_ends_with_its_key(platform: Platform, client: httpx.AsyncClient) -> None:
    """A revoked key's sessions are over."""
    clear, record = await make_key(platform.kafka_url, scopes=READ)
    await _until(client, bearer(clear), 200)
    await log_in(client, clear)
    await control_writer(platform.kafka_url).apply(changes.revoke_key(record.key_id))
    await _until(client, {}, 401)


async def test_session_of_one_console_is_good_at_another(
    platform: Platform, start_console: StartConsole
) -> None:
    """Replicas need no common memory."""
    first, second = await start_console(), await start_console()
    await log_in(first, platform.reader)
    cookie = {"cookie": f"tocsin_session={first.cookies['tocsin_session']}"}
    assert (await second.get("/api/status", headers=cookie)).status_code == 200


async def test_many_wrong_keys_have_to_wait_and_good_ones_do_not(
    platform: Platform, start_console: StartConsole
) -> None:
    """Per address as the proxy saw it, and per key that is guessed at; a good key is let
    in from there, and makes no wrong one count less.
    """
    client = await start_console()
    there = {"x-forwarded-for": "203.0.113.7"}
    statuses = [(await client.post(_LOGIN, json=WRONG, headers=there)).status_code for _ in range(14)]
    assert statuses[:5] == [401] * 5  # each counts: whatever it took, the wait is now a minute
    refused = await client.post(_LOGIN, json=WRONG, headers=there)
    assert refused.status_code == 429
    assert int(refused.headers["retry-after"]) >= 1
    assert (await client.post(_LOGIN, json={"key": platform.reader}, headers=there)).status_code == 200
    client.cookies.clear()
    assert (await client.get("/api/status", headers=there | bearer(platform.reader))).status_code == 200
    assert (await client.post(_LOGIN, json=WRONG, headers=there)).status_code == 429
    assert (await client.get("/api/status", headers=there | bearer(WRONG["key"]))).status_code == 429
    elsewhere = {"x-forwarded-for": "203.0.113.7, 203.0.113.8"}
    assert (await client.post(_LOGIN, json=WRONG_TOO, headers=elsewhere)).status_code == 401
    assert (await client.post(_LOGIN, json=WRONG, headers=elsewhere)).status_code == 429


async def test_bad_client_behind_an_ingress_slows_its_own_address_only(
    platform: Platform, client: httpx.AsyncClient
) -> None:
    """Through a gateway that trusts the ingress; what a client writes itself changes
    nothing.
    """
    async with gateway(str(client.base_url), trusted_proxies="127.0.0.0/8") as ingress:

        async def log_in_from(chain: str, key: str) -> int:
            answer = await ingress.post(_LOGIN, json={"key": key}, headers={"x-forwarded-for": chain})
            return answer.status_code

        for number in range(14):
            await log_in_from(f"192.0.2.{number}, 203.0.113.7", WRONG["key"])
        assert await log_in_from("192.0.2.99, 203.0.113.7", WRONG["key"]) == 429
        assert await log_in_from("203.0.113.8", WRONG_TOO["key"]) == 401
        assert await log_in_from("203.0.113.8", platform.reader) == 200


async def test_bearer_that_logs_out_loses_nothing(platform: Platform, client: httpx.AsyncClient) -> None:
    """It has no session."""
    assert (await client.get(_LOGIN, headers=bearer(platform.admin))).json()["csrf_token"] is None
    assert Scope.ADMIN in (await client.get(_LOGIN, headers=bearer(platform.admin))).json()["scopes"]
    assert (await client.delete(_LOGIN, headers=bearer(platform.admin))).status_code == 204
    assert (await client.get(_LOGIN, headers=bearer(platform.admin))).status_code == 200


async def _until(client: httpx.AsyncClient, headers: dict[str, str], status: int) -> None:
    async with asyncio.timeout(20):
        while (await client.get(_LOGIN, headers=headers)).status_code != status:  # noqa: ASYNC110  nothing announces it
            await asyncio.sleep(0.02)
