"""/api/admin/audit over rows as the audit role writes them."""

import asyncio
import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx

from schemas.control import Scope
from schemas.envelope import Envelope
from schemas.events.audit import AuditEntry
from schemas.topics import AUDIT
from services.common.bus import Start, Tail
from services.common.store import Store
from tests.integration.console.conftest import READ, Platform, bearer
from tests.support.control import make_key

_BEGAN = datetime(2026, 11, 1, tzinfo=UTC)


async def _record(platform: Platform) -> None:
    """Seven acts in each of two tenants, in pairs at the same millisecond."""
    store = Store(platform.store_url)
    rows = []
    for number in range(14):
        at = (_BEGAN + timedelta(seconds=number // 4)).strftime("%Y-%m-%d %H:%M:%S.000")
        row = {
            "position": number,
            "hash": f"h{number}",
            "occurred_at": at,
            "tenant": ("acme", "globex")[number % 2],
            "action": "key.created",
            "entry_id": f"e{number:02}",
            "actor_id": f"k{number}",
            "object_id": f"x{number}",
            "after": '{"name": "n"}',
        }
        rows.append(json.dumps(row))
    await store.command(f"INSERT INTO audit_log FORMAT JSONEachRow {' '.join(rows)}")
    await store.close()


async def test_audit_is_walked_newest_first_and_ends_at_ones_own_tenant(
    platform: Platform, client: httpx.AsyncClient
) -> None:
    """Each entry once over the pages, also at the same millisecond; a cursor of another
    tenant's walk shows nothing of it.
    """
    await _record(platform)
    own, _ = await make_key(platform.kafka_url, scopes=(*READ, Scope.ADMIN))

    async def walk(key: str, parameters: Mapping[str, str]) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        cursor: str | None = ""
        while cursor is not None:
            asked = {"limit": "3", "cursor": cursor, **parameters}
            answer = await client.get("/api/admin/audit", params=asked, headers=bearer(key))
            assert answer.status_code == 200, answer.text
            found += answer.json()["data"]
            cursor = answer.json()["next_cursor"]
        return found

    everything = [one["entry_id"] for one in await walk(platform.admin, {})]
    assert everything == [f"e{number:02}" for number in reversed(range(14))]
    mine = await walk(own, {})
    assert [one["entry_id"] for one in mine] == [f"e{number:02}" for number in reversed(range(0, 14, 2))]
    assert (mine[0]["after"], mine[0]["before"]) == ({"name": "n"}, None)
    refused = await client.get("/api/admin/audit", params={"tenant": "globex"}, headers=bearer(own))
    assert refused.status_code == 403
    assert [one["object_id"] for one in await walk(own, {"actor_id": "k4"})] == ["x4"]
    assert not await walk(own, {"actor_id": "k3"})
    span = {"since": "2026-11-01T00:00:01Z", "until": "2026-11-01T01:00:02+01:00"}
    assert [one["entry_id"] for one in await walk(own, span)] == ["e06", "e04"]
    first = await client.get("/api/admin/audit", params={"limit": "1"}, headers=bearer(platform.admin))
    theirs = {"cursor": first.json()["next_cursor"], "limit": "500"}
    answer = await client.get("/api/admin/audit", params=theirs, headers=bearer(own))
    assert {one["tenant"] for one in answer.json()["data"]} == {"acme"}
    for odd in ("\x00", "'", "\\", "\t\n", "{tenant:String}", "\U0001f600", "' OR 1=1 --"):
        for name in ("actor_id", "object_id"):
            answer = await client.get("/api/admin/audit", params={name: odd}, headers=bearer(platform.admin))
            assert (answer.status_code, answer.json().get("data")) == (200, []), (name, odd)
        for name in ("action", "tenant"):
            answer = await client.get("/api/admin/audit", params={name: odd}, headers=bearer(platform.admin))
            assert (answer.status_code, answer.json()["param"]) == (400, name), odd
    for moment in ("0305-11-25T00:15:58Z", "9999-01-01T00:00:00Z", "2026-11-01T00:00:00"):
        answer = await client.get("/api/admin/audit", params={"until": moment}, headers=bearer(own))
        assert (answer.status_code, answer.json()["param"]) == (400, "until")
    for wrong in ("%%", "eA", "LTEuYQ", "x" * 401):
        answer = await client.get("/api/admin/audit", params={"cursor": wrong}, headers=bearer(own))
        assert (answer.status_code, answer.json()["param"]) == (400, "cursor")


async def test_calls_are_in_the_audit_before_they_are_answered(
    platform: Platform, client: httpx.AsyncClient
) -> None:
    """Counted for the ledger, on the chain's partition; refusals soon after."""
    tail = Tail(platform.kafka_url, "test", topic=AUDIT.name, committed_only=True)
    await tail.start([0], Start.END)
    try:
        opened = await client.post("/api/auth/session", json={"key": platform.admin})
        assert opened.status_code == 200
        found = await _entries(tail, 1)
        assert [one.action for one, _ in found] == ["session.opened"]
        wrong = platform.admin[:-4] + "wron"
        assert (await client.post("/api/auth/token", json={"key": wrong})).status_code == 401
        assert (await client.get("/api/costs", headers=bearer(platform.reader))).status_code == 200
        found += await _entries(tail, 2)
    finally:
        await tail.close()
    assert {(one.action, one.outcome) for one, _ in found[1:]} == {
        ("token.issued", "denied"),
        ("costs.read", "done"),
    }
    assert [envelope.sequence for _, envelope in found] == [0, 1, 2]
    assert len({envelope.source for _, envelope in found}) == 1
    assert {one.request_id[:4] for one, _ in found} == {"req-"}


async def _entries(tail: Tail, count: int) -> list[tuple[AuditEntry, Envelope]]:
    found: list[tuple[AuditEntry, Envelope]] = []
    async with asyncio.timeout(30):
        while len(found) < count:
            found += [
                (AuditEntry.model_validate_json(one.value), Envelope.from_headers(one.headers))
                for one in await tail.poll(0.2)
            ]
    return found
