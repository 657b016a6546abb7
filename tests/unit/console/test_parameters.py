"""A query whose parameters are not all understood is refused, not answered wider."""

import orjson
import pytest

from schemas.control import Scope
from services.common.http.problems import ProblemError
from services.common.http.request_body import parse_json
from services.console.administration.bodies import CreateBudget
from services.console.routes.auth import TokenRequest
from tests.support.console.scene import ConsoleScene

COSTS, SATISFACTION, USAGE = "/api/costs", "/api/quality/satisfaction", "/api/usage/analytics"


@pytest.mark.parametrize(
    ("place", "query", "param"),
    [
        (COSTS, "users=alice", "users"),
        (COSTS, "from_=2026-11-01", "from_"),
        (COSTS, "Model=m", "Model"),
        (COSTS, "group_by=day&group_by=key", "group_by"),
        (COSTS, "tenant=acme&tenant=acme", "tenant"),
        (COSTS, "days=7&from=2026-11-01", "days"),
        (COSTS, "days=30&from=2026-11-01&to=2026-11-02", "days"),
        (COSTS, "limit=1e2", "limit"),
        (COSTS, "user=", "user"),
        (COSTS, "tenant=acme&model=", "model"),
        (COSTS, "key=&days=7", "key"),
        (COSTS, "from=&to=2026-11-02", "from"),
        (COSTS, "from=" + "1" * 41, "from"),
        (SATISFACTION, "window_hours=1&window_hours=24", "window_hours"),
        (SATISFACTION, "hours=1", "hours"),
        (SATISFACTION, "window_hours=0", "window_hours"),
        (USAGE, "day=7", "day"),
        (USAGE, "days=93", "days"),
        (USAGE, "days=7&from=2026-11-01", "days"),
        (USAGE, "from=2026-01-01&to=2026-11-01", "from"),
        (USAGE, "time_zone=Paris", "time_zone"),
        (USAGE, "tenant=", "tenant"),
        (USAGE, "part=by_key", "part"),
    ],
)
async def test_parameter_that_is_not_understood_is_refused(place: str, query: str, param: str) -> None:
    """By its name; nothing is asked of the store."""
    scene = ConsoleScene()
    scene.have_tenant("acme")
    reader, _ = scene.key("acme", Scope.READ)
    answer = await scene.client.get(f"{place}?{query}", headers=reader)
    assert (answer.status_code, answer.json()["param"]) == (400, param)


@pytest.mark.parametrize(
    "query", ["", "days=7", "from=2026-11-01&to=2026-11-02", "model=m&limit=5", "group_by="]
)
async def test_costs_are_told_for_parameters_that_are_understood(query: str) -> None:
    """Alone or together."""
    scene = ConsoleScene()
    scene.have_tenant("acme")
    reader, _ = scene.key("acme", Scope.READ)
    answer = await scene.client.get(f"{COSTS}?{query}", headers=reader)
    assert answer.status_code == 200, answer.text


@pytest.mark.parametrize("body", [b'{"scope": ["infer"]}', b'{"expires_in": 60}', '{"portées": []}'.encode()])
def test_token_asked_for_with_an_unknown_field_is_refused(body: bytes) -> None:
    """Passed over it would give all that the key has, for as long as can be."""
    with pytest.raises(ProblemError) as refused:
        parse_json(body, TokenRequest)
    assert "there are key, scopes, expires_in_s" in refused.value.problem.message


def test_body_of_an_administrator_is_told_what_to_write() -> None:
    """Every wrong field, in words that say how; the fields there are, at their place."""
    body = {"subject": {"kind": "tenant", "id": "x", "nom": "y"}, "limit": "20,5", "warn_at": ["0,8"]}
    with pytest.raises(ProblemError) as refused:
        parse_json(orjson.dumps(body | {"limit_usd": "20,50", "period": "mois"}), CreateBudget)
    told = dict(refused.value.problem.errors)
    assert told["limit_usd"] == "use a point before the decimals, 20.50"
    assert told["warn_at.0"] == "use a point before the decimals, 0.8"
    assert told["period"] == "use 'day' or 'month'"
    assert told["subject.nom"] == "there is no such field; there are kind, id"
    assert told["limit"].startswith("there is no such field, limit_usd perhaps; there are budget_id")


@pytest.mark.parametrize(
    ("action", "status"),
    [
        ("nope", 400),
        ("clé.créée", 200),
        ("key.made", 400),
        (".created", 400),
        ("key.", 400),
        ("key.created", 200),
        ("policy.purged", 200),
        ("report.exported", 200),
        ("", 200),
    ],
)
async def test_action_that_nobody_ever_audits_is_refused(action: str, status: int) -> None:
    """Rather than an empty list, which says that nobody did it; what is done to other
    objects than entries is nobody's business here.
    """
    scene = ConsoleScene()
    scene.have_tenant("acme")
    admin, _ = scene.key("acme", Scope.ADMIN)
    answer = await scene.client.get("/api/admin/audit", params={"action": action}, headers=admin)
    assert answer.status_code == status
    assert ("key.created" in answer.text) is (status == 400)
