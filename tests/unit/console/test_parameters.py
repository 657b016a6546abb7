"""A query whose parameters are not all understood is refused, not answered wider."""

import pytest

from schemas.control import Scope
from tests.support.console.scene import ConsoleScene

COSTS, SATISFACTION = "/api/costs", "/api/quality/satisfaction"


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
        (COSTS, "from=" + "1" * 41, "from"),
        (SATISFACTION, "window_hours=1&window_hours=24", "window_hours"),
        (SATISFACTION, "hours=1", "hours"),
        (SATISFACTION, "window_hours=0", "window_hours"),
    ],
)
async def test_parameter_that_is_not_understood_is_refused(place: str, query: str, param: str) -> None:
    """By its name; nothing is asked of the store."""
    scene = ConsoleScene()
    scene.have_tenant("acme")
    reader, _ = scene.key("acme", Scope.READ)
    answer = await scene.client.get(f"{place}?{query}", headers=reader)
    assert (answer.status_code, answer.json()["param"]) == (400, param)


@pytest.mark.parametrize("query", ["", "days=7", "from=2026-11-01&to=2026-11-02", "model=m&limit=5"])
async def test_costs_are_told_for_parameters_that_are_understood(query: str) -> None:
    """Alone or together."""
    scene = ConsoleScene()
    scene.have_tenant("acme")
    reader, _ = scene.key("acme", Scope.READ)
    answer = await scene.client.get(f"{COSTS}?{query}", headers=reader)
    assert answer.status_code == 200, answer.text
