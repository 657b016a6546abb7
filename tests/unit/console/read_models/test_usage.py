"""/api/usage/analytics, as a client asks it."""

import csv
import io
from collections.abc import Mapping
from typing import Any

import httpx
import pytest

from schemas.control import Scope
from tests.support.console.scene import ConsoleScene

FIGURES = {"failed": 1, "blocked": 0, "prompt": 10, "completion": 30, "usd": "0.000123", "ms": 4000.0}


class Scene:
    """A console whose store knows of a few requests."""

    def __init__(self) -> None:
        self.requests = 2
        self.console = ConsoleScene()
        self.console.have_tenant("acme")
        self.reader, _ = self.console.key("acme", Scope.READ)
        self.console.store.answer = self._answer

    async def ask(self, query: str = "", **headers: str) -> httpx.Response:
        """What acme's reader is told."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return await self.console.client.get(f"/api/usage/analytics?{query}", headers=self.reader | named)

    def _answer(self, sql: str, _parameters: Mapping[str, Any]) -> list[dict[str, Any]]:
        if "anomalies" in sql or "forecasts" in sql:
            return []
        row = FIGURES | {"n": self.requests}
        if "is_total" in sql:
            model = row | {"model": "=m", "is_total": 0, "percentiles": (1500.0, 2000.0, 2500.0)}
            return [model, model | {"model": "", "is_total": 1}]
        if "users" in sql:
            return [row | {"user": "u_1", "users": 7}]
        return [row | {"hour": 1_795_000_000 // 3600 * 3600}]


@pytest.fixture
def scene() -> Scene:
    """Acme's."""
    return Scene()


async def test_usage_is_told_in_seconds_shares_and_dollars(scene: Scene) -> None:
    """In all, by model, user, hour and hour of the week."""
    body = (await scene.ask("days=7&time_zone=Europe/Paris")).json()
    general = body["general_metrics"]
    assert (general["total_requests"], general["avg_latency"], general["error_rate"]) == (2, 2.0, 0.5)
    assert (general["p50"], general["p95"], general["p99"]) == (1.5, 2.0, 2.5)
    assert (general["total_tokens"], general["total_cost_usd"], general["unique_users"]) == (
        40,
        "0.000123",
        7,
    )
    assert [one["model"] for one in body["by_model"]] == ["=m"]
    assert [one["user"] for one in body["by_user"]] == ["u_1"]
    assert body["by_hour"][0]["hour"] == "2026-11-18T12:00:00+01:00"
    assert body["by_weekday_hour"] == [{"weekday": 3, "hour": 12, "total_requests": 2}]


async def test_reader_is_told_of_their_own_tenant(scene: Scene) -> None:
    """Each statement names it."""
    await scene.ask()
    assert scene.console.store.tenants_asked_for() == {"acme"}
    assert (await scene.ask("tenant=globex")).status_code == 403


async def test_client_that_has_the_answer_gets_none_until_it_changes(scene: Scene) -> None:
    """By its entity tag; CSV has another."""
    first = await scene.ask()
    again = await scene.ask(if_none_match=f'"other", W/{first.headers["etag"]}')
    assert (again.status_code, again.content) == (304, b"")
    scene.requests = 3
    changed = await scene.ask(if_none_match=first.headers["etag"])
    assert (changed.status_code, changed.json()["general_metrics"]["total_requests"]) == (200, 3)
    as_csv = await scene.ask(if_none_match=changed.headers["etag"], accept="text/csv")
    assert as_csv.status_code == 200


@pytest.mark.parametrize(
    ("part", "first"),
    [
        ("by_model", {"model": "'=m", "p95": "2.0"}),
        ("by_user", {"user": "u_1", "total_tokens": "40"}),
        ("general_metrics", {"unique_users": "7"}),
        ("by_weekday_hour", {"weekday": "3", "hour": "11"}),
    ],
)
async def test_each_part_is_told_as_csv(scene: Scene, part: str, first: dict[str, str]) -> None:
    """Nothing in it is a formula."""
    answer = await scene.ask(f"part={part}", accept="text/csv")
    assert answer.headers["content-type"].startswith("text/csv")
    (row,) = csv.DictReader(io.StringIO(answer.text))
    assert row.items() >= first.items()
