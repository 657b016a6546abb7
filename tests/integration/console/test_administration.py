"""Administration over HTTP through the real writer, at two consoles of one bus."""

import asyncio
from uuid import uuid4

import httpx

from services.common.control.reader import read_control_state
from tests.integration.console.conftest import Platform, StartConsole, bearer
from tests.support.analyzer.recording import eventually


async def test_two_consoles_make_changes_at_once_and_lose_none(
    platform: Platform, start_console: StartConsole
) -> None:
    """A tenant made at one is changed at both, field by field; a key made at one is good
    at the other, and no more once it is revoked.
    """
    first, second = await start_console(), await start_console()
    root, tenant = bearer(platform.admin), f"t-{uuid4().hex[:8]}"
    made = await first.post("/api/admin/tenants", json={"tenant": tenant, "name": "T"}, headers=root)
    assert made.status_code == 201, made.text
    place = made.headers["location"]
    assert (await first.get(place, headers=root)).headers["etag"] == made.headers["etag"]
    await eventually(lambda: _is(second, place, root, 200), within_s=5, what="the other console reads it")
    changes = [
        (first, {"name": "Team"}),
        (second, {"share": 2}),
        (first, {"limits": {"requests_per_minute": 5}}),
        (second, {"limits": {"tokens_per_minute": 6}}),
    ]
    answers = await asyncio.gather(
        *(console.patch(place, json=change, headers=root) for console, change in changes)
    )
    assert [one.status_code for one in answers] == [200] * 4
    kept = (await read_control_state(platform.kafka_url)).tenants[tenant]
    assert (kept.name, kept.share, kept.version) == ("Team", 2, 5)
    assert kept.limits is not None
    assert (kept.limits.requests_per_minute, kept.limits.tokens_per_minute) == (5, 6)
    stale = root | {"if-match": made.headers["etag"]}
    assert (await second.patch(place, json={"name": "late"}, headers=stale)).status_code == 412

    body = {"tenant": tenant, "name": "k", "scopes": ["read"]}
    key = (await first.post("/api/admin/keys", json=body, headers=root)).json()
    own = bearer(key["key"])
    assert (await first.get("/api/me", headers=own)).status_code == 200
    await eventually(lambda: _is(second, "/api/me", own, 200), within_s=5, what="the key is good everywhere")
    assert (await second.post(f"/api/admin/keys/{key['id']}/revoke", headers=root)).status_code == 200
    assert (await second.get("/api/me", headers=own)).status_code == 401
    await eventually(lambda: _is(first, "/api/me", own, 401), within_s=5, what="the key is ended everywhere")


async def _is(client: httpx.AsyncClient, path: str, headers: dict[str, str], status: int) -> bool:
    return (await client.get(path, headers=headers)).status_code == status
