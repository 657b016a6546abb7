"""POST /api/auth/token: a short token for an API key."""

import asyncio
from typing import Any

import httpx
import pytest

from schemas.control import Scope
from services.common.control import changes
from tests.integration.console.conftest import READ, Platform, bearer
from tests.support.console.passage import gateway
from tests.support.control import control_writer, make_key

_TOKEN = "/api/auth/token"


async def exchange(client: httpx.AsyncClient, key: str, **wanted: Any) -> httpx.Response:
    """Asks for a token with the key in the body."""
    return await client.post(_TOKEN, json={"key": key, **wanted})


async def test_token_does_what_its_key_may_and_no_more(platform: Platform, client: httpx.AsyncClient) -> None:
    """By the body or by the header; narrower if wanted, wider never; none for a token."""
    answer = await exchange(client, platform.reader)
    assert answer.status_code == 200, answer.text
    assert answer.headers["cache-control"] == "no-store"
    token = answer.json()
    assert (token["token_type"], token["expires_in"], token["scope"]) == (
        "Bearer",
        600,
        "infer feedback read",
    )
    assert (await client.get("/api/status", headers=bearer(token["access_token"]))).status_code == 200
    async with gateway(str(client.base_url), trusted_proxies="") as passage:
        by_header = await passage.post(_TOKEN, headers=bearer(platform.reader))
        assert by_header.status_code == 200, by_header.text
        passed = await passage.get("/api/status", headers=bearer(by_header.json()["access_token"]))
        assert passed.status_code == 200
    narrow = await exchange(client, platform.reader, scopes=["infer"], expires_in_s=30)
    assert (narrow.json()["scope"], narrow.json()["expires_in"]) == ("infer", 30)
    refused = await client.get("/api/status", headers=bearer(narrow.json()["access_token"]))
    assert refused.status_code == 403
    assert (await exchange(client, platform.reader, scopes=["admin"])).status_code == 403
    again = await client.post(_TOKEN, headers=bearer(token["access_token"]))
    assert again.status_code == 401
    session = await client.post("/api/auth/session", json={"key": token["access_token"]})
    assert session.status_code in (400, 401)


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({}, 401),
        ({"key": ""}, 401),
        ({"key": "x" * 300}, 400),
        ({"key": "tsn_abcdefgh_" + "x" * 43}, 401),
        ({"scopes": []}, 400),
        ({"scopes": ["fly"]}, 400),
        ({"expires_in_s": 0}, 400),
    ],
)
async def test_malformed_exchange_says_why(
    client: httpx.AsyncClient, body: dict[str, Any], status: int
) -> None:
    """As a problem; what was sent is not repeated."""
    answer = await client.post(_TOKEN, json=body)
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json")


async def test_revoked_keys_token_ends_with_it(platform: Platform, client: httpx.AsyncClient) -> None:
    """As the key itself does."""
    clear, record = await make_key(platform.kafka_url, scopes=READ)
    async with asyncio.timeout(10):
        while (answer := await exchange(client, clear)).status_code != 200:  # noqa: ASYNC110  the console tells nobody
            await asyncio.sleep(0.02)
    headers = bearer(answer.json()["access_token"])
    assert (await client.get("/api/auth/session", headers=headers)).status_code == 200
    await control_writer(platform.kafka_url).apply(changes.revoke_key(record.key_id))
    async with asyncio.timeout(10):
        while (await client.get("/api/auth/session", headers=headers)).status_code != 401:  # noqa: ASYNC110  the console tells nobody
            await asyncio.sleep(0.01)
    assert Scope.READ in record.scopes
