"""What callers of each kind are told of their limits, budgets and usage."""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import pytest

from schemas.control import BudgetChanged, Limits, ModelChanged, Scope, Subject, ThresholdsChanged
from services.common.identity import pseudonym
from tests.support.console.scene import BEGAN, PSEUDONYM_KEY, ConsoleScene

INFER, READ = Scope.INFER, Scope.READ
MODEL = "smollm2-135m"
NONE = {"requests_per_minute": None, "tokens_per_minute": None, "concurrent_streams": None}


def scene_with(defaults: str = "") -> ConsoleScene:
    """A console with one tenant."""
    scene = ConsoleScene(limits_defaults=defaults)
    scene.have_tenant("acme")
    return scene


async def bounds(scene: ConsoleScene, headers: Mapping[str, str]) -> dict[str, Any]:
    """What /api/me/limits tells."""
    answer = await scene.client.get("/api/me/limits", headers=headers)
    assert answer.status_code == 200
    found: dict[str, Any] = answer.json()
    return found


async def test_defaults_that_gateways_hold_to_are_told() -> None:
    """Limit by limit where there is no own one; a token of the provider is no key."""
    scene = scene_with("plain")
    key, _ = scene.key("acme", INFER)
    assert (await bounds(scene, key))["key"] == NONE | {"requests_per_minute": 10}
    own, _ = scene.key("acme", INFER, limits=Limits(concurrent_streams=2))
    assert (await bounds(scene, own))["key"] == NONE | {"requests_per_minute": 10, "concurrent_streams": 2}
    wider, _ = scene.key("acme", INFER, limits=Limits(requests_per_minute=99))
    assert (await bounds(scene, wider))["key"]["requests_per_minute"] == 99
    assert (await bounds(scene, scene.issued("jo", INFER)))["key"] is None
    other = scene_with("user.tokens_per_minute=5,tenant.concurrent_streams=6,model.requests_per_minute=7")
    told = await bounds(other, other.issued("jo", INFER))
    assert (told["key"], told["user"]) == (None, NONE | {"tokens_per_minute": 5})
    assert told["tenant"] == NONE | {"concurrent_streams": 6}
    assert told["models"] == {MODEL: NONE | {"requests_per_minute": 7}}
    assert (await bounds(other, other.key("acme", INFER)[0]))["user"] is None


async def test_limits_of_models_that_the_caller_may_not_use_are_not_told() -> None:
    """Nor of those that are switched off."""
    scene = scene_with()
    scene.have(ModelChanged(model=MODEL, version=1, limits=Limits(requests_per_minute=3)))
    all_, _ = scene.key("acme", INFER)
    this, _ = scene.key("acme", INFER, models=(MODEL,))
    another, _ = scene.key("acme", INFER, models=("another",))
    assert [list((await bounds(scene, one))["models"]) for one in (all_, this, another)] == [[MODEL]] * 2 + [
        []
    ]
    scene.have(ModelChanged(model=MODEL, version=2, enabled=False, limits=Limits(requests_per_minute=3)))
    assert not (await bounds(scene, all_))["models"]


@pytest.mark.parametrize("whose", ["acme", "*"])
async def test_hourly_limit_of_users_without_findings_is_told_where_it_holds(whose: str) -> None:
    """Only where it was named, and that is not deleted."""
    scene = scene_with()
    key, _ = scene.key("acme", INFER)
    assert (await bounds(scene, key))["requests_per_hour_by_risk"] == [None, 50, 10]
    scene.have(ThresholdsChanged(tenant="globex", version=1, requests_per_hour=(1, 1, 1)))
    assert (await bounds(scene, key))["requests_per_hour_by_risk"] == [None, 50, 10]
    scene.have(ThresholdsChanged(tenant=whose, version=1, high=9))
    assert (await bounds(scene, key))["requests_per_hour_by_risk"] == [None, 50, 10]
    scene.have(ThresholdsChanged(tenant=whose, version=2, requests_per_hour=(8, 4, 2)))
    assert (await bounds(scene, key))["requests_per_hour_by_risk"] == [8, 4, 2]
    scene.have(ThresholdsChanged(tenant=whose, version=3, requests_per_hour=(8, 4, 2), deleted_at=BEGAN))
    assert (await bounds(scene, key))["requests_per_hour_by_risk"] == [None, 50, 10]


async def test_what_a_tenant_spent_is_told_to_readers_only() -> None:
    """Of their own budgets everybody is told; of a shared one that and how it bounds them."""
    scene = scene_with()
    subjects = {"all": ("tenant", "acme"), "model": ("model", MODEL), "mine": ("user", "acme/jo")}
    for name, (kind, subject) in subjects.items():
        scene.have(
            BudgetChanged(
                budget_id=name,
                tenant="acme",
                subject=Subject(kind=kind, id=subject),  # type: ignore[arg-type]
                period="month",
                limit_usd=Decimal(5),
                created_at=BEGAN,
                version=1,
            )
        )
    scene.store.answer = lambda _sql, given: [
        {"of_tenant": "acme", "of_subject": one, "here": Decimal("1.25"), "later": Decimal(0)}
        for one in given["ids"]
    ]
    asker, reader = (scene.key("acme", *scopes, user="jo")[0] for scopes in ((INFER,), (INFER, READ)))
    for headers, seen in ((asker, [None, "1.25", None]), (reader, ["1.25"] * 3)):
        told = (await bounds(scene, headers))["budgets"]
        assert [one["budget_id"] for one in told] == ["all", "mine", "model"]
        assert [one["limit_usd"] for one in told] == ["5"] * 3
        assert [one["spent_usd"] for one in told] == seen
    other, _ = scene.key("acme", INFER, models=("another",))
    assert [one["budget_id"] for one in (await bounds(scene, other))["budgets"]] == ["all"]


async def test_own_usage_is_of_ones_keys_and_of_ones_tokens_without_a_key() -> None:
    """By the pseudonym under which gateways record a token's user; who has no name is
    found by their key alone.
    """
    scene = scene_with()
    _, key_id = scene.key("acme", INFER, user="jo")
    nobodys, nobodys_id = scene.key("acme", INFER)
    jo, ann = (pseudonym(PSEUDONYM_KEY, tenant="acme", user=one) for one in ("jo", "ann"))
    callers = [
        (scene.issued("jo", INFER), [key_id], jo),
        (scene.key("acme", READ, user="ann")[0], None, ann),
        (scene.issued("ann", INFER, tenant="acme"), None, ann),
        (await scene.token(nobodys), [nobodys_id], ""),
    ]
    for headers, keys, user in callers:
        scene.store.asked.clear()
        answer = await scene.client.get("/api/me/usage", headers=headers)
        assert (answer.status_code, answer.json()["total"]["requests"]) == (200, 0)
        ((sql, given),) = scene.store.asked
        assert (given["only_tenant"], given["keyless_user"]) == ("acme", user)
        assert keys is None or given["keys"] == keys
        assert ("key_id = '' AND user = {keyless_user:String}" in sql) == bool(user)
        assert "tenant = {only_tenant:String} AND (has({keys:Array(String)}, key_id)" in sql


@pytest.mark.parametrize("place", ["", "/limits", "/keys", "/usage"])
async def test_any_good_key_or_token_sees_its_own(place: str) -> None:
    """Whatever its scopes are; none without one."""
    scene = scene_with()
    key, _ = scene.key("acme", Scope.FEEDBACK)
    for headers in (key, await scene.token(key), scene.issued("jo", Scope.FEEDBACK), scene.issued("jo")):
        assert (await scene.client.get(f"/api/me{place}", headers=headers)).status_code == 200
    assert (await scene.client.get(f"/api/me{place}")).status_code == 401


@pytest.mark.parametrize(
    "place", ["/api/costs", "/api/quality/satisfaction", "/api/me/usage", "/api/admin/audit", "spend"]
)
async def test_store_that_is_away_is_told_as_503_everywhere(place: str) -> None:
    """With when to try again, and the code by which programs know it."""
    scene = scene_with()
    headers, key_id = scene.key("acme", *Scope)
    scene.have(
        BudgetChanged(
            budget_id="b",
            tenant="acme",
            subject=Subject(kind="key", id=key_id),
            period="day",
            limit_usd=Decimal(1),
            created_at=BEGAN,
            version=1,
        )
    )
    scene.store.is_away = True
    path = "/api/admin/budgets/b/spend" if place == "spend" else place
    answer = await scene.client.get(path, headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (503, "store_unavailable")
    assert (answer.headers["retry-after"], answer.headers["retry-after-ms"]) == ("2", "2000")
    scene.store.is_away = False
    assert (await scene.client.get(path, headers=headers)).status_code == 200
