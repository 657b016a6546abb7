"""What the audit is told of calls to the console, and what is not answered without."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any
from urllib.parse import quote

import pytest
from fastapi.routing import iter_route_contexts

from schemas.control import Scope, UserChanged
from schemas.events.audit import AuditEntry
from services.common.identity import pseudonym
from services.console.auditing.acts import CHANGES, EXEMPT, GIVING
from services.console.feedback.recommendations.reader import COLUMNS
from tests.support.console.scene import BEGAN, PSEUDONYM_KEY, TENANT_ADMIN, ConsoleScene
from tests.unit.console.authorisation.test_matrix import MODEL, Platform, fastapi_of

_READS = sorted(path for method, path in GIVING if method == "GET")


@pytest.fixture
def scene() -> ConsoleScene:
    """A console with two tenants."""
    made = ConsoleScene()
    made.have_tenant("acme")
    made.have_tenant("globex")
    return made


def test_every_route_gives_changes_or_is_exempt_with_a_reason(scene: ConsoleScene) -> None:
    """Whoever adds one decides what the audit is told; and no row is without a route."""
    served = {
        (method, str(route.path))
        for route in iter_route_contexts(fastapi_of(scene.console.app).routes)
        for method in route.methods or ()
        if method != "HEAD"
    }
    assert served == {*GIVING, *CHANGES, *EXEMPT}
    assert len(served) == len(GIVING) + len(CHANGES) + len(EXEMPT)
    assert all(EXEMPT.values())


@pytest.fixture(scope="module")
def platform() -> Platform:
    """One entry of each kind, and a recommendation."""
    made = Platform()
    made.scene.store.answer = _one_recommendation
    return made


def _one_recommendation(sql: str, _parameters: Mapping[str, Any]) -> list[dict[str, Any]]:
    if "FROM v_recommendations WHERE fingerprint" not in sql:
        return []
    row: dict[str, Any] = dict.fromkeys(COLUMNS, "")
    return [row | {"as_of": BEGAN, "days": 7, "subject": {}, "facts": {}, "actions": []}]


@pytest.mark.parametrize("path", _READS)
async def test_data_of_others_is_given_only_once_that_is_in_the_audit(platform: Platform, path: str) -> None:
    """With who, what, and whose; where the audit cannot be written, 503 and no data."""
    scene = platform.scene
    scene.recorded.clear()
    scene.console.auditing.given.end_windows(all_=True)
    scene.audit_is_away = True
    try:
        assert await platform.status("console", "GET", path, "platform") == 503
        assert scene.recorded == []
        assert await platform.status("console", "GET", path, "platform") == 503  # the second is no repeat
    finally:
        scene.audit_is_away = False
    assert await platform.status("console", "GET", path, "platform") == 200
    (entry,) = scene.recorded
    act = GIVING["GET", path]
    assert (entry.action, entry.object_kind, entry.outcome) == (act.action, act.object_kind, "done")
    assert entry.actor.kind == "key"
    assert entry.actor.address == "127.0.0.0/24"
    assert entry.request_id.startswith("req-")
    assert bool(entry.object_id) is ("{" in path)


@pytest.mark.parametrize("kind", ["session", "token"])
async def test_log_in_is_given_only_once_that_is_in_the_audit(scene: ConsoleScene, kind: str) -> None:
    """No cookie and no token without."""
    headers, key_id = scene.key("acme", *TENANT_ADMIN)
    body = {"key": headers["authorization"].removeprefix("Bearer ")}
    scene.audit_is_away = True
    refused = await scene.client.post(f"/api/auth/{kind}", json=body)
    assert (refused.status_code, refused.json()["code"]) == (503, "bus_unavailable")
    assert refused.headers["retry-after"] == "2"
    assert "set-cookie" not in refused.headers
    assert body["key"].split("_", 2)[2] not in refused.text
    scene.audit_is_away = False
    assert (await scene.client.post(f"/api/auth/{kind}", json=body)).status_code == 200
    (entry,) = scene.recorded
    wanted = {"session": "session.opened", "token": "token.issued"}[kind]
    assert (entry.action, entry.actor.id, entry.tenant) == (wanted, key_id, "acme")


async def test_own_matters_and_changes_leave_no_entry_of_the_call(platform: Platform) -> None:
    """A change's entry is in its own transaction."""
    scene = platform.scene
    scene.recorded.clear()
    for method, path in (
        *EXEMPT,
        ("POST", "/api/admin/tenants"),
        ("PATCH", "/api/admin/users/{tenant}/{user}"),
    ):
        await platform.status("console", method, path, "platform")
    assert scene.recorded == []


@pytest.mark.parametrize("name", ["jo", "a/b", "u_1", "Ann Arbor"])
async def test_user_who_was_asked_about_is_told_by_a_pseudonym(scene: ConsoleScene, name: str) -> None:
    """Also where the answer is refused: a name would stay in the audit after an erasure."""
    admin, _ = scene.key("acme", *TENANT_ADMIN)
    reader, _ = scene.key("acme", Scope.READ)
    wanted = pseudonym(PSEUDONYM_KEY, tenant="acme", user=name)
    scene.have(UserChanged.model_construct(tenant="acme", user=name, created_at=BEGAN, version=1))
    one = quote(name, safe="")
    for headers, path in (
        (admin, f"security/users/{one}/timeline"),
        (reader, f"security/users/{one}/timeline"),
        (admin, f"security/findings?user={one}"),
        (admin, f"costs?days=3&user={one}"),
    ):
        await scene.client.get(f"/api/{path}", headers=headers)
    platform, _ = scene.key("default", *Scope)
    await scene.client.get(f"/api/costs?days=4&user=acme%2F{one}", headers=platform)
    told = [entry.model_dump_json() for entry in await _denied(scene)]
    assert len([one for one in told if wanted in one]) == 5
    assert not [one for one in told if f'"{name}"' in one or f'"acme/{name}"' in one]


async def test_whose_data_was_read_is_told(platform: Platform) -> None:
    """To that tenant's administrator, not to the reader's: theirs by the entry, the path
    or the question; all tenants' is nobody's.
    """
    scene, headers = platform.scene, platform.headers["platform"]
    platform.controls[0].state = platform.began
    scene.console.auditing.given.end_windows(all_=True)
    for path, tenant in (
        ("/api/admin/budgets/b", "acme"),
        ("/api/admin/users/acme/ann", "acme"),
        ("/api/admin/audit?tenant=globex", "globex"),
        ("/api/admin/users?limit=1", ""),
        (f"/api/admin/models/{MODEL}", ""),
    ):
        scene.recorded.clear()
        assert (await scene.client.get(path, headers=headers)).status_code == 200, path
        assert [one.tenant for one in scene.recorded] == [tenant], path
    scene.recorded.clear()
    await scene.client.get("/api/admin/users?limit=2", headers=platform.headers["admin"])
    assert [(one.tenant, one.after) for one in scene.recorded] == [("acme", {"asked": {"limit": "2"}})]


async def test_caller_without_a_key_is_named_by_a_pseudonym(scene: ConsoleScene) -> None:
    """Never by the name that the identity provider has for them."""
    scene.have(UserChanged(tenant="acme", user="jo", created_at=BEGAN, version=1, scopes=(Scope.READ,)))
    await scene.client.get("/api/costs", headers=scene.issued("jo", *Scope))
    (entry,) = scene.recorded
    assert (entry.actor.kind, "jo" in entry.actor.id) == ("user", False)
    assert entry.tenant == "acme"


async def test_the_same_look_again_is_counted(scene: ConsoleScene) -> None:
    """A page that polls leaves two entries a minute; another question is another entry."""
    headers, _ = scene.key("acme", *TENANT_ADMIN)
    for _ in range(20):
        await scene.client.get("/api/costs?days=3", headers=headers)
    await scene.client.get("/api/costs?days=4", headers=headers)
    assert [one.after for one in scene.recorded] == [{"asked": {"days": "3"}}, {"asked": {"days": "4"}}]
    await scene.console.auditing.close()
    summed = scene.recorded[2]
    assert (summed.after, summed.before) == ({"repeated": 19}, {"entry_id": scene.recorded[0].entry_id})
    assert summed.entry_id != scene.recorded[0].entry_id
    assert summed.salt != scene.recorded[0].salt


async def test_look_after_a_minute_is_an_entry_again(scene: ConsoleScene) -> None:
    """And ends the count of the minute before."""
    headers, _ = scene.key("acme", *TENANT_ADMIN)
    auditing = scene.console.auditing
    now = auditing.clock()
    auditing.given.clock = lambda: now
    for _ in range(3):
        await scene.client.get("/api/costs", headers=headers)
    now += timedelta(seconds=61)
    await scene.client.get("/api/costs", headers=headers)
    await auditing.close()
    assert [one.after for one in scene.recorded] == [None, None, {"repeated": 2}]


async def _denied(scene: ConsoleScene) -> list[AuditEntry]:
    await scene.console.auditing.close()
    return scene.recorded


async def test_guessing_writes_two_entries_however_often(scene: ConsoleScene) -> None:
    """By one network: of keys that there are not, whatever they are called."""
    for number in range(200):
        key = f"tsn_{number:08}_{'x' * 43}"
        answer = await scene.client.post("/api/auth/session", json={"key": key})
        assert answer.status_code in (401, 429)
    found = await _denied(scene)
    assert {(one.action, one.outcome, one.actor.kind) for one in found} == {
        ("session.opened", "denied", "unknown")
    }
    assert len(found) <= 4  # 401 and 429, each with a count
    assert sum((one.after or {}).get("repeated", 1) for one in found) == 200
    assert {one.actor.address for one in found} == {"127.0.0.0/24"}
    assert "tsn_" not in "".join(one.model_dump_json() for one in found)


async def test_guessing_from_many_networks_for_many_keys_is_bounded(scene: ConsoleScene) -> None:
    """Beyond 64 groups a minute there is one for all the others."""
    keys = [scene.key("acme", Scope.READ)[1] for _ in range(3)]
    for number in range(400):
        await scene.client.post(
            "/api/auth/token",
            json={"key": f"tsn_{keys[number % 3]}_{'x' * 43}"},
            headers={
                "x-forwarded-for": f"198.{number % 250}.{number}.7" if number < 250 else f"2001:{number:x}::7"
            },
        )
    found = await _denied(scene)
    assert len(found) <= 2 * 65
    others = [one for one in found if one.action == "access.denied"]
    assert [one.actor.address for one in others] == ["", ""]
    assert sum((one.after or {}).get("repeated", 1) for one in found) == 400
    assert not [one for one in found if one.actor.address.endswith(".7") or "::7" in one.actor.address]


async def test_refusal_names_the_claimed_key_but_not_as_who_acts(scene: ConsoleScene) -> None:
    """Anybody may send wrong secrets for a key's id; its tenant is told."""
    headers, key_id = scene.key("acme", Scope.INFER)
    await scene.client.post("/api/auth/session", json={"key": f"tsn_{key_id}_{'x' * 43}"})
    await scene.client.get("/api/costs", headers=headers)
    wrong, lacking = await _denied(scene)
    assert (wrong.actor.kind, wrong.actor.id, wrong.after, wrong.tenant) == (
        "unknown",
        "",
        {"key": key_id},
        "acme",
    )
    assert (lacking.actor.kind, lacking.actor.id, lacking.reason) == ("key", key_id, "403")
    assert lacking.action == "costs.read"


async def test_refused_change_and_looks_beyond_ones_tenant_are_told(scene: ConsoleScene) -> None:
    """Of a tenant's administrator: under their own name, to their own tenant."""
    headers, key_id = scene.key("acme", *TENANT_ADMIN)
    assert (await scene.client.get("/api/admin/users/globex/eve", headers=headers)).status_code == 404
    assert (await scene.client.delete("/api/admin/tenants/acme", headers=headers)).status_code == 403
    found = [
        (one.action, one.outcome, one.object_id, one.actor.id, one.tenant) for one in await _denied(scene)
    ]
    assert found == [
        ("user.read", "failed", "globex/eve", key_id, "acme"),
        ("tenant.deleted", "denied", "acme", key_id, "acme"),
    ]


async def test_key_in_a_query_is_not_kept(scene: ConsoleScene) -> None:
    """Whoever puts one there by mistake."""
    headers, _ = scene.key("acme", *TENANT_ADMIN)
    clear = headers["authorization"].removeprefix("Bearer ")
    answer = await scene.client.get("/api/admin/audit", params={"actor_id": clear}, headers=headers)
    assert answer.status_code == 200
    (entry,) = scene.recorded
    assert entry.after == {"asked": {"actor_id": "***"}}


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ("prompt_text=my pin is 4711", "prompt_text=***"),
        ("response_text!=!?", "response_text!=***"),
        ("user=jo", "user=***"),
        (f"user={'u_' + '0' * 32}", f"user={'u_' + '0' * 32}"),
        ("tenant=acme", "tenant=acme"),
    ],
)
async def test_what_a_filter_quotes_is_not_kept(scene: ConsoleScene, asked: str, told: str) -> None:
    """Texts and names would be in the audit for ever, though the person were erased."""
    headers, _ = scene.key("acme", *TENANT_ADMIN)
    answer = await scene.client.get("/api/export/v_requests", params={"filter": asked}, headers=headers)
    assert answer.status_code == 200
    assert scene.recorded[-1].after == {"asked": {"filter": told}}


async def test_every_action_that_is_audited_can_be_asked_for(scene: ConsoleScene) -> None:
    """A list of actions elsewhere would refuse new ones."""
    headers, _ = scene.key("acme", *TENANT_ADMIN)
    for act in (*GIVING.values(), *CHANGES.values()):
        answer = await scene.client.get("/api/admin/audit", params={"action": act.action}, headers=headers)
        assert answer.status_code == 200, act.action
