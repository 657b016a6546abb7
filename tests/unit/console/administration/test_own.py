"""What a user sees of themselves, and does with their own keys."""

from decimal import Decimal

import pytest

from schemas.control import BudgetChanged, Limits, ModelChanged, Scope, Subject, UserChanged
from tests.support.console.scene import BEGAN, TENANT_ADMIN, ConsoleScene

READ, INFER, ADMIN = Scope.READ, Scope.INFER, Scope.ADMIN


@pytest.fixture
def scene() -> ConsoleScene:
    """A console with two tenants that have a user of the same name."""
    scene = ConsoleScene()
    for tenant in ("acme", "globex"):
        scene.have_tenant(tenant, name=tenant.upper(), limits={"tokens_per_minute": 9})
        scene.have(
            UserChanged(
                tenant=tenant, user="jo", created_at=BEGAN, version=1, limits=Limits(requests_per_minute=3)
            )
        )
    return scene


async def test_caller_is_told_who_he_is_and_what_bounds_him(scene: ConsoleScene) -> None:
    """Their key's, user's and tenant's limits and budgets, nobody else's."""
    caller, key_id = scene.key("acme", INFER, READ, user="jo", limits=Limits(concurrent_streams=1))
    subjects = {
        "mine": ("acme", "user", "acme/jo"),
        "my-key": ("acme", "key", key_id),
        "my-tenant": ("acme", "tenant", "acme"),
        "another-user": ("acme", "user", "acme/ann"),
        "another-tenant": ("globex", "user", "globex/jo"),
    }
    for name, (tenant, kind, subject) in subjects.items():
        scene.have(
            BudgetChanged(
                budget_id=name,
                tenant=tenant,
                subject=Subject(kind=kind, id=subject),  # type: ignore[arg-type]
                period="day",
                limit_usd=Decimal("1.50"),
                created_at=BEGAN,
                version=1,
            )
        )
    me = (await scene.client.get("/api/me", headers=caller)).json()
    assert (me["tenant"], me["tenant_name"], me["user"], me["key_id"]) == ("acme", "ACME", "jo", key_id)
    assert (me["scopes"], me["models"]) == (["infer", "read"], ["smollm2-135m"])
    scene.store.is_away = True
    bounds = (await scene.client.get("/api/me/limits", headers=caller)).json()
    assert bounds["key"]["concurrent_streams"] == 1
    assert bounds["user"]["requests_per_minute"] == 3
    assert bounds["tenant"]["tokens_per_minute"] == 9
    assert [one["budget_id"] for one in bounds["budgets"]] == ["mine", "my-key", "my-tenant"]
    assert (bounds["budgets"][0]["limit_usd"], bounds["budgets"][0]["spent_usd"]) == ("1.5", None)


async def test_own_keys_are_those_of_the_same_user_in_the_same_tenant(scene: ConsoleScene) -> None:
    """A key without a user is alone; no list shows a secret's hash."""
    caller, first = scene.key("acme", READ, user="jo")
    _, second = scene.key("acme", READ, user="jo")
    _, deleted = scene.key("acme", READ, user="jo", deleted_at=BEGAN)
    nobodys, alone = scene.key("acme", READ)
    others = [scene.key(*of, READ, user=user)[1] for of, user in ((["globex"], "jo"), (["acme"], "ann"))]
    others.append(scene.key("acme", READ)[1])
    listed = await scene.client.get("/api/me/keys", headers=caller)
    assert [one["id"] for one in listed.json()["data"]] == sorted([first, second])
    assert "hmac" not in listed.text
    only = (await scene.client.get("/api/me/keys", headers=nobodys)).json()["data"]
    assert [one["id"] for one in only] == [alone]
    for headers, key_id in ((caller, others[0]), (caller, others[1]), (nobodys, others[2]), (nobodys, first)):
        for verb in ("rotate", "revoke"):
            answer = await scene.client.post(f"/api/me/keys/{key_id}/{verb}", headers=headers)
            assert answer.status_code == 404
    assert (await scene.client.post(f"/api/me/keys/{deleted}/revoke", headers=caller)).status_code == 404
    assert not scene.audited


async def test_user_rotates_and_revokes_his_own_key(scene: ConsoleScene) -> None:
    """The very key that they call with: the answer is its last use."""
    caller, key_id = scene.key("acme", READ, user="jo")
    place = f"/api/me/keys/{key_id}"
    rotated = await scene.client.post(f"{place}/rotate", json={"overlap_s": 0}, headers=caller)
    assert (rotated.status_code, rotated.headers["cache-control"]) == (200, "no-store")
    assert (await scene.client.get("/api/me", headers=caller)).status_code == 401
    again = {"authorization": f"Bearer {rotated.json()['key']}"}
    assert (await scene.client.get("/api/me", headers=again)).json()["key_id"] == key_id
    assert (await scene.client.post(f"{place}/revoke", headers=again)).status_code == 200
    assert (await scene.client.get("/api/me", headers=again)).status_code == 401
    assert [one.action for one in scene.audited] == ["key.rotated", "key.revoked"]
    assert {one.actor.id for one in scene.audited} == {key_id}


async def test_weak_key_neither_takes_nor_ends_a_strong_one_of_its_user(scene: ConsoleScene) -> None:
    """Who finds a user's reading key must not become the administrator they are."""
    weak, _ = scene.key("acme", READ, user="jo", models=("small",))
    _, strong = scene.key("acme", *TENANT_ADMIN, user="jo")
    _, wider = scene.key("acme", READ, user="jo")
    for key_id in (strong, wider):
        for verb in ("rotate", "revoke"):
            answer = await scene.client.post(f"/api/me/keys/{key_id}/{verb}", headers=weak)
            assert answer.status_code == 403
    assert not scene.audited


@pytest.mark.parametrize(
    "query", ["days=0", "days=401", "days=x", "time_zone=Mars", "tenant=globex", "key=x"]
)
async def test_usage_is_asked_for_oneself_only(scene: ConsoleScene, query: str) -> None:
    """Whose it is cannot be said."""
    caller, _ = scene.key("acme", READ)
    answer = await scene.client.get(f"/api/me/usage?{query}", headers=caller)
    assert (answer.status_code, answer.json()["param"]) == (400, query.partition("=")[0])


@pytest.mark.parametrize(
    ("begun", "source", "next_from"),
    [
        ([], "the models file", None),
        (["2100-01-01"], "the models file", "2100-01-01"),
        (["2026-01-01"], "set from 2026-01-01", None),
        (["2026-01-01", "2026-02-01", "2100-01-01", "2101-01-01"], "set from 2026-02-01", "2100-01-01"),
    ],
)
async def test_caller_is_told_what_models_cost_now(
    scene: ConsoleScene, begun: list[str], source: str, next_from: str | None
) -> None:
    """With any key: the file's price until another has begun, and when the next one will."""
    caller, _ = scene.key("acme", INFER)
    prices = [
        {"valid_from": day, "input_per_million_usd": f"0.{number + 5}"} for number, day in enumerate(begun)
    ]
    scene.have(ModelChanged.model_validate({"model": "smollm2-135m", "prices": prices, "version": 1}))
    (told,) = (await scene.client.get("/api/me/prices", headers=caller)).json()["data"]
    assert (told["model"], told["price_source"], told["next_price_from"]) == (
        "smollm2-135m",
        source,
        next_from,
    )
    past = [day for day in begun if day < "2027"]
    assert told["price_in_force"]["input_per_million_usd"] == (f"0.{len(past) + 4}" if past else "0.02")
    assert told["price_in_force"]["output_per_million_usd"] == (None if past else "0.06")


async def test_price_of_a_model_that_the_caller_may_not_ask_for_is_not_told(scene: ConsoleScene) -> None:
    """Neither where the key lacks it nor where it is switched off."""
    caller, _ = scene.key("acme", INFER, models=("another",))
    assert (await scene.client.get("/api/me/prices", headers=caller)).json() == {"data": []}
    anybody, _ = scene.key("acme", INFER)
    scene.have(ModelChanged(model="smollm2-135m", enabled=False, version=1))
    assert (await scene.client.get("/api/me/prices", headers=anybody)).json() == {"data": []}
