"""What a short token does not give: anything that outlives it."""

from typing import Any

import pytest

from schemas.control import PolicyChanged, RouteChanged, RouteTarget, Scope, UserChanged
from tests.support.console.scene import BEGAN, TENANT_ADMIN, ConsoleScene
from tests.unit.console.administration.test_isolation import budget_of

INFER, READ, ADMIN = Scope.INFER, Scope.READ, Scope.ADMIN


@pytest.fixture
def scene() -> ConsoleScene:
    """Acme, whose user jo is entered as an administrator."""
    scene = ConsoleScene()
    scene.have_tenant("acme")
    scene.have(UserChanged(tenant="acme", user="jo", created_at=BEGAN, version=1, scopes=TENANT_ADMIN))
    budget = budget_of("acme", "user", "acme/jo")
    scene.have(
        budget.model_copy(update={"budget_id": "b"}),
        budget.model_copy(update={"budget_id": "gone", "deleted_at": BEGAN}),
        RouteChanged(tenant="acme", route="r", targets=(RouteTarget(model="m"),), version=1),
        PolicyChanged(tenant="acme", version=1),
    )
    return scene


def _giving(own: str, other: str, deleted: str) -> list[tuple[str, str, dict[str, Any]]]:
    """Every way to a secret, or to more rights for who has one."""
    return [
        ("POST", f"/api/me/keys/{own}/rotate", {}),
        ("POST", f"/api/me/keys/{other}/rotate", {"overlap_s": 0}),
        ("POST", f"/api/admin/keys/{own}/rotate", {}),
        ("POST", f"/api/admin/keys/{other}/rotate", {"overlap_s": 60}),
        ("POST", "/api/admin/keys", {"name": "new", "scopes": ["infer"]}),
        ("POST", "/api/admin/keys", {"name": "new", "user": "jo", "scopes": ["read", "admin"]}),
        ("PATCH", f"/api/admin/keys/{other}", {"scopes": ["admin"]}),
        ("PATCH", f"/api/admin/keys/{other}", {"expires_at": None}),
        ("POST", f"/api/admin/keys/{deleted}/restore", {}),
        ("POST", "/api/admin/users", {"user": "eve", "scopes": ["read"]}),
        ("PATCH", "/api/admin/users/acme/jo", {"scopes": ["infer", "admin"]}),
        *_changing(),
    ]


def _changing() -> list[tuple[str, str, dict[str, Any]]]:
    """What goes on for everybody when the token is over."""
    subject = {"subject": {"kind": "user", "id": "acme/jo"}, "period": "day"}
    return [
        ("POST", "/api/admin/policies", {"store_text": "raw", "prompt_attacks": "off"}),
        ("DELETE", "/api/admin/policies/acme", {}),
        ("PATCH", "/api/admin/policies/acme", {"scan_output": False}),
        ("POST", "/api/admin/budgets", {**subject, "limit_usd": "0", "hard": True}),
        ("PATCH", "/api/admin/budgets/b", {"hard": False}),
        ("DELETE", "/api/admin/budgets/b", {}),
        ("POST", "/api/admin/budgets/gone/restore", {}),
        ("POST", "/api/admin/routes", {"route": "smollm2-135m", "targets": [{"model": "other"}]}),
        ("DELETE", "/api/admin/routes/acme/r", {}),
        ("PATCH", "/api/admin/tenants/acme", {"name": "x"}),
    ]


@pytest.mark.parametrize(
    "scopes", [(READ,), (INFER,), (INFER, READ), (ADMIN,), TENANT_ADMIN, ()], ids="+".join
)
async def test_exchanged_token_neither_rotates_nor_mints_nor_widens(
    scene: ConsoleScene, scopes: tuple[Scope, ...]
) -> None:
    """However many of its key's rights it has: whoever finds it would keep them."""
    key, own = scene.key("acme", *TENANT_ADMIN, user="jo")
    others = [scene.key("acme", INFER, user="jo", **more)[1] for more in ({}, {"deleted_at": BEGAN})]
    token, before = await scene.token(key, *scopes), scene.console.control.state
    for method, place, body in _giving(own, *others):
        answer = await scene.client.request(method, place, json=body, headers=token | {"if-match": "*"})
        assert (answer.status_code, "key" in answer.json()) == (403, False), place
    assert not scene.audited
    assert scene.console.control.state == before


async def test_narrowed_token_does_not_end_the_wider_key_it_stands_for(scene: ConsoleScene) -> None:
    """It takes no more than it may; the whole one ends it, which takes only."""
    key, own = scene.key("acme", INFER, READ, user="jo")
    _, other = scene.key("acme", INFER, READ)
    narrowed, whole = await scene.token(key, READ), await scene.token(key)
    place = f"/api/me/keys/{own}/revoke"
    assert (await scene.client.post(place, headers=narrowed)).status_code == 403
    assert (await scene.client.post(f"/api/me/keys/{other}/revoke", headers=whole)).status_code == 404
    assert not scene.audited
    assert (await scene.client.post(place, headers=whole)).status_code == 200
    assert (await scene.client.get("/api/me", headers=key)).status_code == 401


async def test_identity_providers_token_rotates_no_key_of_its_user(scene: ConsoleScene) -> None:
    """An administrator who comes by one makes keys for their tenant all the same: they
    may have no other way; never one that may more than they.
    """
    _, own = scene.key("acme", INFER, user="jo")
    token = scene.issued("jo", *TENANT_ADMIN)
    assert (await scene.client.post(f"/api/me/keys/{own}/rotate", headers=token)).status_code == 403
    reader = scene.issued("jo", INFER, READ)
    body = {"name": "new", "scopes": ["infer"]}
    assert (await scene.client.post("/api/admin/keys", json=body, headers=reader)).status_code == 403
    assert not scene.audited
    assert (await scene.client.post("/api/admin/keys", json=body, headers=token)).status_code == 201
    more = body | {"scopes": ["platform", "admin"]}
    assert (await scene.client.post("/api/admin/keys", json=more, headers=token)).status_code == 403


async def test_key_of_any_scope_and_its_session_rotate_their_own(scene: ConsoleScene) -> None:
    """What was shown lasts already; a session's call needs its CSRF token."""
    key, own = scene.key("acme", INFER)
    place = "/api/me/keys/{}/rotate"
    rotated = await scene.client.post(place.format(own), headers=key)
    assert (rotated.status_code, rotated.json()["id"]) == (200, own)
    reader, other = scene.key("acme", READ)
    session = await scene.session(reader)
    without = {"cookie": session["cookie"]}
    assert (await scene.client.post(place.format(other), headers=without)).status_code == 403
    assert (await scene.client.post(place.format(other), headers=session)).status_code == 200
