"""Making, reading, changing, deleting and restoring entries over HTTP."""

from typing import Any

import pytest

from schemas.control import Scope
from services.console.administration.kinds import Display
from tests.support.console.scene import BEGAN, TENANT_ADMIN, ConsoleScene

ALL = tuple(Scope)
MADE: dict[str, dict[str, Any]] = {
    "tenants": {"tenant": "clinic", "name": "Clinic", "share": 2},
    "users": {"tenant": "acme", "user": "jo@example.org", "scopes": ["read"]},
    "keys": {"tenant": "acme", "name": "phone", "limits": {"requests_per_minute": 5}},
    "budgets": {
        "tenant": "acme",
        "budget_id": "b1",
        "subject": {"kind": "tenant", "id": "acme"},
        "period": "day",
        "limit_usd": "1.000001",
    },
    "models": {
        "model": "smollm2-135m",
        "prices": [{"valid_from": "2026-01-01", "output_per_million_usd": "2.5"}],
    },
    "routes": {"tenant": "acme", "route": "meta/small", "targets": [{"model": "smollm2-135m"}]},
    "thresholds": {"tenant": "*", "requests_per_hour": [9, 8, 7]},
    "policies": {"tenant": "acme", "store_text": "none"},
}
CHANGED: dict[str, dict[str, Any]] = {
    "tenants": {"name": "Hospital"},
    "users": {"suspended": True},
    "keys": {"limits": {"tokens_per_minute": 7}},
    "budgets": {"limit_usd": "2"},
    "models": {"limits": {"requests_per_minute": 9}},
    "routes": {"cascade_below": -1.5},
    "thresholds": {"critical": 30},
    "policies": {"retention_days": 3, "retention_by_table": {"findings": 9}},
}


@pytest.fixture
def scene() -> ConsoleScene:
    """A console with two tenants."""
    scene = ConsoleScene()
    scene.have_tenant("acme")
    scene.have_tenant("globex")
    return scene


async def test_scores_of_thresholds_are_an_entrys_own_once_one_is_named(scene: ConsoleScene) -> None:
    """Limiting requests says nothing of scores."""
    root, _ = scene.key("default", *ALL)
    where = "/api/admin/thresholds"
    made = await scene.client.post(
        where, json={"tenant": "acme", "requests_per_hour": [9, 8, 7]}, headers=root
    )
    assert made.json()["scores_named"] is False
    tagged = root | {"if-match": made.headers["etag"]}
    changed = await scene.client.patch(f"{where}/acme", json={"low": 4}, headers=tagged)
    assert (changed.json()["scores_named"], changed.json()["low"]) == (True, 4)


@pytest.mark.parametrize("plural", list(MADE))
async def test_entry_of_each_kind_lives_through_all_its_verbs(scene: ConsoleScene, plural: str) -> None:
    """Made, read where Location says, changed, deleted, restored, purged; each change
    is audited with its maker's key and without secrets.
    """
    root, root_id = scene.key("default", *ALL)
    client, where = scene.client, f"/api/admin/{plural}"
    made = await client.post(where, json=MADE[plural], headers=root)
    assert made.status_code == 201, made.text
    place = made.headers["location"]
    read = await client.get(place, headers=root)
    assert (read.status_code, read.headers["etag"]) == (200, f'"{read.json()["etag"]}"')
    assert {name: value for name, value in made.json().items() if name != "key"} == read.json()
    changed = await client.patch(
        place, json=CHANGED[plural], headers=root | {"if-match": read.headers["etag"]}
    )
    assert (changed.status_code, changed.json()["version"]) == (200, 2), changed.text
    assert read.json()["id"] in [one["id"] for one in (await client.get(where, headers=root)).json()["data"]]
    assert (await client.delete(place, headers=root)).status_code == 200
    gone = (await client.get(where, headers=root)).json()["data"]
    assert read.json()["id"] not in [one["id"] for one in gone]
    deleted = (await client.get(where, params={"deleted": "yes"}, headers=root)).json()["data"]
    assert read.json()["id"] in [one["id"] for one in deleted]
    assert (await client.post(f"{place}/restore", headers=root)).status_code == 200
    assert (await client.post(f"{place}/purge", headers=root)).status_code == 204
    assert (await client.get(place, headers=root)).status_code == 404
    verbs = [entry.action.partition(".")[2] for entry in scene.audited]
    assert verbs == ["created", "changed", "deleted", "restored", "purged"]
    assert {(one.actor.kind, one.actor.id, one.object_id) for one in scene.audited} == {
        ("key", root_id, read.json()["id"])
    }
    assert "hmac" not in str([one.model_dump() for one in scene.audited])


async def test_key_is_shown_once_and_rotates_with_an_overlap(scene: ConsoleScene) -> None:
    """The new secret is good at once, the old one until the overlap's end."""
    root, _ = scene.key("default", *ALL)
    body = {"tenant": "acme", "name": "n", "scopes": ["read"]}
    made = await scene.client.post("/api/admin/keys", json=body, headers=root)
    assert made.headers["cache-control"] == "no-store"
    old, place = made.json()["key"], made.headers["location"]
    assert old.startswith(f"tsn_{made.json()['id']}_")
    assert "hmac" not in made.text
    assert old not in (await scene.client.get(place, headers=root)).text
    rotated = await scene.client.post(f"{place}/rotate", json={"overlap_s": 60}, headers=root)
    new = rotated.json()["key"]
    assert rotated.json()["id"] == made.json()["id"]
    assert rotated.json()["previous_secret_until"]
    assert [await _status(scene, one) for one in (old, new)] == [200, 200]
    at_once = (await scene.client.post(f"{place}/rotate", json={"overlap_s": 0}, headers=root)).json()["key"]
    assert [await _status(scene, one) for one in (old, new, at_once)] == [401, 401, 200]
    assert (await scene.client.post(f"{place}/revoke", headers=root)).status_code == 200
    assert await _status(scene, at_once) == 401
    assert (await scene.client.post(f"{place}/rotate", headers=root)).status_code == 409
    assert not any(secret in str(scene.audited) for secret in (old, new, at_once))


async def test_change_of_a_stale_version_is_refused(scene: ConsoleScene) -> None:
    """412 for whichever change names a version that is no more; * is any."""
    root, _ = scene.key("default", *ALL)
    place = "/api/admin/tenants/acme"
    tag = (await scene.client.get(place, headers=root)).headers["etag"]
    first = await scene.client.patch(place, json={"name": "a"}, headers=root | {"if-match": tag})
    assert first.status_code == 200
    for stale in (tag, f"W/{first.headers['etag']}", '"x", "y"'):
        headers = root | {"if-match": stale}
        assert (await scene.client.patch(place, json={"name": "b"}, headers=headers)).status_code == 412
        assert (await scene.client.delete(place, headers=headers)).status_code == 412
        assert (await scene.client.post(f"{place}/purge", headers=headers)).status_code == 412
    for good in ("*", f'"x", {first.headers["etag"]}'):
        headers = root | {"if-match": good}
        assert (await scene.client.post(f"{place}/purge", headers=headers)).status_code in (204, 404)
    malformed = await scene.client.delete(place, headers=root | {"if-match": "3-17"})
    assert (malformed.status_code, malformed.json()["param"]) == (400, "If-Match")


async def test_list_is_replaced_only_of_a_version_that_was_read(scene: ConsoleScene) -> None:
    """428: of two who each add a price, neither takes the other's away unseen."""
    root, _ = scene.key("default", *ALL)
    await scene.client.post("/api/admin/models", json=MADE["models"], headers=root)
    place = "/api/admin/models/smollm2-135m"
    tag = (await scene.client.get(place, headers=root)).headers["etag"]
    prices = {"prices": [{"valid_from": "2026-02-01"}]}
    assert (await scene.client.patch(place, json=prices, headers=root)).status_code == 428
    both = [await scene.client.patch(place, json=prices, headers=root | {"if-match": tag}) for _ in range(2)]
    assert [one.status_code for one in both] == [200, 412]
    assert (await scene.client.patch(place, json={"enabled": False}, headers=root)).status_code == 200


async def test_wrong_fields_are_all_named(scene: ConsoleScene) -> None:
    """By the body's model, or by the rules that the present state adds."""
    root, _ = scene.key("default", *ALL)
    body = {
        "tenant": "acme",
        "name": "x" * 201,
        "scopes": ["fly"],
        "limits": {"requests_per_minute": -1},
        "id": 1,
    }
    problem = (await scene.client.post("/api/admin/keys", json=body, headers=root)).json()
    assert problem["status"] == 400
    assert {one["field"] for one in problem["errors"]} == {
        "name",
        "scopes.0",
        "limits.requests_per_minute",
        "id",
    }
    body = {"tenant": "nobody", "name": "a\nb", "scopes": ["platform"], "user": ".."}
    answer = await scene.client.post("/api/admin/keys", json=body, headers=root)
    assert answer.headers["content-type"] == "application/problem+json"
    assert [one["field"] for one in answer.json()["errors"]] == ["name", "tenant", "scopes", "user"]
    unknown = {"model": "no-such-model"}
    assert (await scene.client.post("/api/admin/models", json=unknown, headers=root)).json()[
        "param"
    ] == "model"


async def test_walk_over_pages_meets_each_entry_once(scene: ConsoleScene) -> None:
    """While others are made and purged beside it."""
    root, _ = scene.key("default", *ALL)
    for number in range(7):
        scene.have_tenant(f"t{number}", name=f"Team <{number}>")
    seen: list[str] = []
    cursor = ""
    while cursor is not None:
        params = {"limit": "2", "cursor": cursor, "name": "tEaM"}
        answer = (await scene.client.get("/api/admin/tenants", params=params, headers=root)).json()
        seen += [one["id"] for one in answer["data"]]
        cursor = answer["next_cursor"]
        scene.have_tenant("t0a", name="Team between", version=len(seen))
    assert seen == ["t0", "t1", "t2", "t3", "t4", "t5", "t6"]
    for params, param in (
        ({"limit": "0"}, "limit"),
        ({"limit": "501"}, "limit"),
        ({"cursor": "é"}, "cursor"),
        ({"user": "jo"}, "user"),
        ({"nmae": "x"}, "nmae"),
        ({"deleted": "maybe"}, "deleted"),
    ):
        wrong = await scene.client.get("/api/admin/tenants", params=params, headers=root)
        assert (wrong.status_code, wrong.json()["param"]) == (400, param)


async def test_entry_made_twice_conflicts(scene: ConsoleScene) -> None:
    """409, deleted or not."""
    root, _ = scene.key("default", *ALL)
    assert (
        await scene.client.post("/api/admin/tenants", json={"tenant": "acme"}, headers=root)
    ).status_code == 409
    await scene.client.delete("/api/admin/tenants/acme", headers=root)
    again = await scene.client.post("/api/admin/tenants", json={"tenant": "acme"}, headers=root)
    assert (again.status_code, again.json()["code"]) == (409, "conflict")


async def test_change_is_audited_with_the_network_it_came_from(scene: ConsoleScene) -> None:
    """Never the whole address."""
    root, _ = scene.key("default", *ALL)
    headers = root | {"x-forwarded-for": "203.0.113.77"}
    await scene.client.patch("/api/admin/tenants/acme", json={"name": "x"}, headers=headers)
    assert scene.audited[-1].actor.address == "203.0.113.0/24"
    assert (scene.audited[-1].before or {})["name"] == ""
    assert (scene.audited[-1].after or {})["name"] == "x"


@pytest.mark.parametrize(
    ("lost", "status"),
    [
        ({"revoked_at": BEGAN}, 401),
        ({"expires_at": BEGAN}, 401),
        ({"deleted_at": BEGAN}, 401),
        ({"scopes": (Scope.READ, Scope.ADMIN)}, 403),
    ],
)
async def test_key_that_lost_rights_while_its_change_waited_makes_none(
    scene: ConsoleScene, lost: dict[str, Any], status: int
) -> None:
    """Rights are judged on the state that the change is decided on."""
    admin, admin_id = scene.key("acme", *TENANT_ADMIN)
    key = scene.console.control.state.keys[admin_id]
    scene.meanwhile = lambda: scene.have(key.model_copy(update={"version": 2, **lost}))
    answer = await scene.client.patch("/api/admin/tenants/acme", json={"name": "x"}, headers=admin)
    assert answer.status_code == status
    assert not scene.audited


async def test_key_is_shown_with_its_last_use(scene: ConsoleScene) -> None:
    """As processes told it; null where none did."""
    root, root_id = scene.key("default", *ALL)
    place = f"/api/admin/keys/{root_id}"
    assert (await scene.client.get(place, headers=root)).json()["last_used_at"] is None
    used = Display(lambda key_id: BEGAN if key_id == root_id else None)
    assert used.shown(scene.console.control.state.keys[root_id])["last_used_at"] == BEGAN.isoformat()
    assert "last_used_at" not in used.shown(scene.console.control.state.tenants["acme"])


async def _status(scene: ConsoleScene, clear: str) -> int:
    answer = await scene.client.get("/api/auth/session", headers={"authorization": f"Bearer {clear}"})
    return answer.status_code
