"""What a tenant's administrator tries on others, on the platform, and on themselves."""

from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from schemas.control import (
    BudgetChanged,
    PolicyChanged,
    RouteChanged,
    RouteTarget,
    Scope,
    Subject,
    ThresholdsChanged,
    UserChanged,
)
from services.console.administration.authorisation import MOST_OF_A_KIND
from tests.support.console.scene import BEGAN, TENANT_ADMIN, ConsoleScene

ALL = tuple(Scope)
TARGETS = (RouteTarget(model="smollm2-135m"),)


def budget_of(tenant: str, kind: Any, subject: str) -> BudgetChanged:
    """A tenant's budget."""
    return BudgetChanged(
        budget_id=f"{tenant}-{kind}",
        tenant=tenant,
        subject=Subject(kind=kind, id=subject),
        period="day",
        limit_usd=Decimal(1),
        created_at=BEGAN,
        version=1,
    )


@pytest.fixture
def scene() -> ConsoleScene:
    """Acme, whose administrator attacks; globex, which has one of each kind."""
    scene = ConsoleScene()
    scene.have_tenant("acme")
    scene.have_tenant("globex")
    scene.have(
        UserChanged(tenant="globex", user="ann", created_at=BEGAN, version=1),
        budget_of("globex", "user", "globex/ann"),
        budget_of("acme", "tenant", "acme"),
        RouteChanged(tenant="globex", route="r", targets=TARGETS, version=1),
        RouteChanged(tenant="*", route="r", targets=TARGETS, version=1),
        ThresholdsChanged(tenant="globex", version=1),
        PolicyChanged(tenant="globex", version=1),
        PolicyChanged(tenant="*", version=1),
    )
    return scene


async def test_what_is_another_tenants_is_not_there(scene: ConsoleScene) -> None:
    """404 for each verb, the same answer as for what there is not; lists and cursors
    show nothing of it.
    """
    attacker, _ = scene.key("acme", *TENANT_ADMIN)
    _, foreign = scene.key("globex", Scope.INFER)
    before = scene.console.control.state
    places = [
        *("tenants/globex", "users/globex/ann", f"keys/{foreign}", "budgets/globex-user", "routes/globex/r"),
        *("routes/*/r", "policies/globex", "policies/*"),
    ]
    for place in places:
        where = f"/api/admin/{place}"
        for headers in (attacker, attacker | {"if-match": '"1-0"'}, attacker | {"if-match": "*"}):
            answers = [
                await scene.client.get(where, headers=headers),
                await scene.client.patch(where, json={}, headers=headers),
                await scene.client.delete(where, headers=headers),
                await scene.client.post(f"{where}/restore", headers=headers),
                await scene.client.post(f"{where}/purge", headers=headers),
            ]
            assert {one.status_code for one in answers} == {404}, place
    absent = await scene.client.get("/api/admin/users/acme/nobody", headers=attacker)
    hidden = await scene.client.get("/api/admin/users/globex/ann", headers=attacker)
    assert absent.json() | {"detail": ""} == hidden.json() | {"detail": ""}
    for verb in ("rotate", "revoke"):
        url = f"/api/admin/keys/{foreign}/{verb}"
        assert (await scene.client.post(url, headers=attacker)).status_code == 404
    for params in ({}, {"tenant": "globex"}, {"cursor": "Z2xvYmU"}, {"deleted": "any"}, {"name": "glob"}):
        for plural in ("tenants", "users", "keys", "budgets", "routes", "policies", "thresholds"):
            listed = await scene.client.get(f"/api/admin/{plural}", params=params, headers=attacker)
            assert "globex" not in str(listed.json()["data"])
            assert "'*'" not in str(listed.json()["data"])
    assert scene.console.control.state == before


@pytest.mark.parametrize(
    ("plural", "body"),
    [
        ("users", {"user": "eve"}),
        ("keys", {"name": "k"}),
        ("budgets", {"subject": {"kind": "user", "id": "globex/ann"}, "period": "day", "limit_usd": 0}),
        ("routes", {"route": "new", "targets": [{"model": "smollm2-135m"}]}),
        ("policies", {"store_text": "raw"}),
    ],
)
async def test_nothing_is_made_in_another_tenant(
    scene: ConsoleScene, plural: str, body: dict[str, Any]
) -> None:
    """Nor for all; the answer is the same whether or not that tenant is there."""
    attacker, _ = scene.key("acme", *TENANT_ADMIN)
    for tenant in ("globex", "nobody", "*", "default", ""):
        answer = await scene.client.post(
            f"/api/admin/{plural}", json=body | {"tenant": tenant}, headers=attacker
        )
        assert (answer.status_code, answer.json()["param"]) == (404, "tenant")
    assert not scene.audited


async def test_budget_for_another_tenants_user_is_refused_as_for_nobody(scene: ConsoleScene) -> None:
    """In one's own tenant: the answers differ by what was sent only."""
    attacker, _ = scene.key("acme", *TENANT_ADMIN)
    _, foreign = scene.key("globex", Scope.INFER)
    body = {"period": "day", "limit_usd": "1"}
    for kind, there, nowhere in (("user", "globex/ann", "globex/nobody"), ("key", foreign, "zzzzzzzz")):
        answers = [
            await scene.client.post(
                "/api/admin/budgets", json=body | {"subject": {"kind": kind, "id": one}}, headers=attacker
            )
            for one in (there, nowhere)
        ]
        assert {one.status_code for one in answers} == {400}
        assert answers[0].text.replace(there, nowhere) == answers[1].text


SERVERS = (
    *("kind", "key_id", "secret_hmac", "previous_secret_hmac", "record_mac", "version", "created_at"),
    *("changed_by", "changed_at", "deleted_at", "revoked_at", "id", "etag", "replaced_by"),
)


@pytest.mark.parametrize(
    ("plural", "body"),
    [
        ("users", {"user": "eve"}),
        ("keys", {"name": "k"}),
        ("policies", {}),
    ],
)
async def test_what_only_the_server_sets_cannot_be_sent(
    scene: ConsoleScene, plural: str, body: dict[str, Any]
) -> None:
    """Neither at making nor at changing."""
    attacker, key_id = scene.key("acme", *TENANT_ADMIN)
    where = f"/api/admin/{plural}"
    place = f"{where}/" + {"users": "acme/ann", "keys": key_id, "policies": "acme"}[plural]
    for field in SERVERS:
        made = await scene.client.post(where, json=body | {field: "1"}, headers=attacker)
        changed = await scene.client.patch(place, json={field: "1"}, headers=attacker)
        assert (made.status_code, made.json()["param"]) == (400, field)
        assert (changed.status_code, changed.json()["param"]) == (400, field)


@pytest.mark.parametrize("field", ["tenant", "user", "kind"])
async def test_key_is_not_moved_to_another_owner(scene: ConsoleScene, field: str) -> None:
    """Not even within the tenant: what it did counts for whom it was made for."""
    attacker, key_id = scene.key("acme", *TENANT_ADMIN)
    answer = await scene.client.patch(f"/api/admin/keys/{key_id}", json={field: "globex"}, headers=attacker)
    assert answer.status_code == 400


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"limits": {"requests_per_minute": 10**6}}, "limits"),
        ({"limits": None}, "limits"),
        ({"share": 99}, "share"),
        ({"suspended": False}, "suspended_at"),
        ({"name": "fine", "share": 2}, "share"),
    ],
)
async def test_tenant_does_not_set_its_own_limits(
    scene: ConsoleScene, change: dict[str, Any], param: str
) -> None:
    """Share, limits and suspension are the platform's; the name is its own."""
    scene.have_tenant("acme", version=2, limits={"requests_per_minute": 1}, suspended_at=None)
    if "suspended" in change:
        scene.have_tenant("acme", version=3, suspended_at=BEGAN.replace(year=2999))
    attacker, _ = scene.key("acme", *TENANT_ADMIN)
    answer = await scene.client.patch("/api/admin/tenants/acme", json=change, headers=attacker)
    if "suspended" in change:
        assert answer.status_code == 401  # nobody is let in there
    else:
        assert (answer.status_code, answer.json()["param"]) == (403, param)
    assert not scene.audited


async def test_what_the_platform_sets_is_read_and_not_changed(scene: ConsoleScene) -> None:
    """The tenant's budget and thresholds; models and new tenants not even that."""
    attacker, _ = scene.key("acme", *TENANT_ADMIN)
    scene.have(ThresholdsChanged(tenant="acme", version=1))
    client = scene.client
    for place in ("budgets/acme-tenant", "thresholds/acme"):
        where = f"/api/admin/{place}"
        assert (await client.get(where, headers=attacker)).status_code == 200
        assert (await client.patch(where, json={}, headers=attacker)).status_code == 403
        assert (await client.delete(where, headers=attacker)).status_code == 403
    subject = {"subject": {"kind": "model", "id": "smollm2-135m"}, "period": "day", "limit_usd": 1}
    assert (await client.post("/api/admin/budgets", json=subject, headers=attacker)).status_code == 403
    own = subject | {"subject": {"kind": "tenant", "id": "acme"}}
    assert (await client.post("/api/admin/budgets", json=own, headers=attacker)).status_code == 403
    named = {
        "budget_id": "globex-user",
        "subject": {"kind": "key", "id": "x"},
        "period": "day",
        "limit_usd": 1,
    }
    assert (await client.post("/api/admin/budgets", json=named, headers=attacker)).json()[
        "param"
    ] == "budget_id"
    for method, place in (("POST", "tenants"), ("GET", "models"), ("GET", "models/smollm2-135m")):
        answer = await client.request(method, f"/api/admin/{place}", json={"tenant": "x"}, headers=attacker)
        assert answer.status_code == 403
    for place in ("tenants/acme", "tenants/acme/purge"):
        method = "POST" if place.endswith("purge") else "DELETE"
        assert (await client.request(method, f"/api/admin/{place}", headers=attacker)).status_code == 403
    assert not scene.audited


async def test_nobody_grants_more_than_he_has(scene: ConsoleScene) -> None:
    """Not by a new key, a changed one, a user's bound, a rotation, or a restoration."""
    attacker, own = scene.key("acme", Scope.READ, Scope.ADMIN, models=("small",))
    _, infer = scene.key("acme", Scope.INFER, models=("small",))
    _, everything = scene.key("acme", Scope.READ)
    _, ended = scene.key("acme", Scope.INFER, models=("small",), deleted_at=BEGAN)
    client, small = scene.client, {"models": ["small"]}
    for body in (
        {"scopes": ["infer"]} | small,
        {"scopes": ["read", "platform", "admin"]} | small,
        {"scopes": ["read"]},
        {"scopes": ["read"], "models": ["small", "large"]},
    ):
        answer = await client.post("/api/admin/keys", json={"name": "k"} | body, headers=attacker)
        assert (answer.status_code, answer.json()["param"]) in ((403, "scopes"), (403, "models")), body
    fine = {"name": "k", "scopes": ["read"]} | small
    assert (await client.post("/api/admin/keys", json=fine, headers=attacker)).status_code == 201
    for key_id, change in (
        (own, {"scopes": ["read", "admin", "platform"]}),
        (own, {"scopes": ["read", "admin", "feedback"]}),
        (own, {"models": []}),
        (infer, {"scopes": ["infer", "feedback"]}),
        (infer, {"models": ["large"]}),
    ):
        headers = attacker | {"if-match": "*"}
        answer = await client.patch(f"/api/admin/keys/{key_id}", json=change, headers=headers)
        assert answer.status_code == 403, change
    for key_id, verb in ((infer, "rotate"), (everything, "rotate"), (ended, "restore")):
        assert (await client.post(f"/api/admin/keys/{key_id}/{verb}", headers=attacker)).status_code == 403
    assert (await client.post(f"/api/admin/keys/{infer}/revoke", headers=attacker)).status_code == 200
    user = {"user": "eve", "scopes": ["infer"]}
    assert (await client.post("/api/admin/users", json=user, headers=attacker)).status_code == 403
    route = {"route": "r", "targets": [{"model": "large"}]}
    assert (await client.post("/api/admin/routes", json=route, headers=attacker)).status_code == 403


async def test_platform_administrator_is_not_shut_out_by_a_tenants(scene: ConsoleScene) -> None:
    """Their key or user may live in the very tenant, as `tocsin up` makes it."""
    attacker, _ = scene.key("acme", *TENANT_ADMIN)
    root, root_id = scene.key("acme", *ALL, user="root")
    client, key = scene.client, f"/api/admin/keys/{root_id}"
    tries = [
        client.patch(key, json={"name": "x"}, headers=attacker),
        client.delete(key, headers=attacker),
        client.post(f"{key}/revoke", headers=attacker),
        client.post(f"{key}/rotate", json={"overlap_s": 0}, headers=attacker),
        client.post("/api/admin/users", json={"user": "root"}, headers=attacker),
        *(
            client.post(
                "/api/admin/budgets",
                json={"subject": subject, "period": "day", "limit_usd": 0, "hard": True},
                headers=attacker,
            )
            for subject in ({"kind": "key", "id": root_id},)
        ),
    ]
    assert [(await one).status_code for one in tries] == [403] * len(tries)
    assert (await client.get(key, headers=root)).status_code == 200


@pytest.mark.parametrize("how", ["entered", "by a key", "by a revoked key's record"])
async def test_nobody_acts_as_a_platform_administrator(scene: ConsoleScene, how: str) -> None:
    """A key with their user would use up their limits, budgets and hourly requests."""
    attacker, _ = scene.key("acme", *TENANT_ADMIN)
    if how == "entered":
        scene.have(UserChanged(tenant="acme", user="root", created_at=BEGAN, version=1, scopes=ALL))
    else:
        scene.have(UserChanged(tenant="acme", user="root", created_at=BEGAN, version=1))
        scene.key("acme", *ALL, user="root", revoked_at=None if how == "by a key" else BEGAN)
    _, planted = scene.key("acme", Scope.INFER, user="root")
    _, gone = scene.key("acme", Scope.INFER, user="root", deleted_at=BEGAN)
    client, body = scene.client, {"name": "steal", "user": "root", "scopes": ["infer"]}
    tries = [
        client.post("/api/admin/keys", json=body, headers=attacker),
        client.post(f"/api/admin/keys/{planted}/rotate", json={}, headers=attacker),
        client.patch(f"/api/admin/keys/{planted}", json={"expires_at": None}, headers=attacker),
        client.post(f"/api/admin/keys/{gone}/restore", headers=attacker),
    ]
    assert [(await one).status_code for one in tries] == [403] * len(tries)
    assert not scene.audited
    body["user"] = "rooty"
    scene.have(UserChanged(tenant="acme", user="rooty", created_at=BEGAN, version=1))
    assert (await client.post("/api/admin/keys", json=body, headers=attacker)).status_code == 201


async def test_session_changes_something_only_with_its_csrf_token(scene: ConsoleScene) -> None:
    """The cookie alone is what another site can send."""
    clear = scene.key("acme", *TENANT_ADMIN)[0]["authorization"].removeprefix("Bearer ")
    scene.console.callers.log_outs.caught_up = True
    login = await scene.client.post("/api/auth/session", json={"key": clear})
    where = "/api/admin/tenants/acme"
    bare = await scene.client.patch(where, json={"name": "x"})
    assert (bare.status_code, bare.json()["code"]) == (403, "csrf_failed")
    token = {"x-csrf-token": login.json()["csrf_token"]}
    assert (await scene.client.patch(where, json={"name": "x"}, headers=token)).status_code == 200
    cross = token | {"sec-fetch-site": "cross-site"}
    assert (await scene.client.patch(where, json={"name": "y"}, headers=cross)).status_code == 403


@pytest.mark.parametrize("name", ["a\x00b", "a\x1b[2Jb", "a\nb", "a\u202eb", "\u2028"])
async def test_name_that_would_confuse_a_terminal_is_refused(scene: ConsoleScene, name: str) -> None:
    """HTML is kept as it is and never sent as a page."""
    attacker, _ = scene.key("acme", *TENANT_ADMIN)
    for body in ({"name": name}, {"name": "k", "user": name}):
        answer = await scene.client.post("/api/admin/keys", json=body, headers=attacker)
        assert answer.status_code == 400
    markup = "<script>alert(1)</script>"
    made = await scene.client.post("/api/admin/keys", json={"name": markup}, headers=attacker)
    assert made.json()["name"] == markup
    assert made.headers["content-type"] == "application/json"
    assert made.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b'{"name": "' + b"x" * 70_000 + b'"}', 413),
        (b'{"name": "k", "limits": {"requests_per_minute": 1e999}}', 400),
        (b'{"name": "k", "expires_at": "2030-01-01T00:00:00"}', 400),
        (b'{"name": "k", "expires_at": "2001-01-01T00:00:00Z"}', 400),
        (b"[" * 10_000, 400),
        (b'{"name": "\\ud800"}', 400),
        (b'{"name": "k", "models": [' + b'"m",' * 200 + b'"m"]}', 400),
    ],
)
async def test_hostile_body_is_refused(scene: ConsoleScene, body: bytes, status: int) -> None:
    """Too large, too deep, no time zone, no text."""
    attacker, _ = scene.key("acme", *TENANT_ADMIN)
    answer = await scene.client.post("/api/admin/keys", content=body, headers=attacker)
    assert answer.status_code == status, answer.text
    assert not scene.audited


@pytest.mark.parametrize("amount", ["1e999999", "NaN", "-1", "0.0000001", "1" * 40])
async def test_amount_that_no_ledger_holds_is_refused(scene: ConsoleScene, amount: str) -> None:
    """A budget is a number of dollars with at most six decimals."""
    root, _ = scene.key("default", *ALL)
    body = {
        "tenant": "acme",
        "subject": {"kind": "tenant", "id": "acme"},
        "period": "day",
        "limit_usd": amount,
    }
    answer = await scene.client.post("/api/admin/budgets", json=body, headers=root)
    assert (answer.status_code, answer.json()["param"]) == (400, "limit_usd")


async def test_tenant_does_not_fill_everybodys_memory(scene: ConsoleScene) -> None:
    """Deleted entries count; the platform may go on."""
    attacker, _ = scene.key("acme", *TENANT_ADMIN)
    root, _ = scene.key("default", *ALL)
    users = {
        f"acme/u{number}": UserChanged(tenant="acme", user=f"u{number}", created_at=BEGAN, deleted_at=BEGAN)
        for number in range(MOST_OF_A_KIND)
    }
    control = scene.console.control
    control.state = replace(control.state, users={**control.state.users, **users})
    body = {"tenant": "acme", "user": "one-more"}
    refused = await scene.client.post("/api/admin/users", json=body, headers=attacker)
    assert (refused.status_code, refused.json()["code"]) == (409, "conflict")
    assert (await scene.client.post("/api/admin/users", json=body, headers=root)).status_code == 201
