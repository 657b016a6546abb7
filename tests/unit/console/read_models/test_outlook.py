"""/api/usage/forecast, /anomalies and /capacity, as a client asks them."""

import csv
import io
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from schemas.control import Scope
from tests.support.console.scene import ConsoleScene

NOON = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
HOURS = [NOON + timedelta(hours=one) for one in range(24)]
FORECAST = {
    "as_of": NOON, "figure": "requests", "method": "combined", "baseline": "same_hour_of_week",
    "beats_baseline": True, "error": 3.0, "baseline_error": 4.0, "coverage80": 0.8, "coverage95": 0.95,
    "known_hours": 1000, "notes": [], "hours": HOURS, "median": [360.0] * 24, "low80": [300.0] * 24,
    "high80": [420.0] * 24, "low95": [280.0] * 24, "high95": [460.0] * 24,
}  # fmt: skip
NONE = FORECAST | {
    "figure": "threats", "method": "none", "baseline": "none", "beats_baseline": False, "error": None,
    "baseline_error": None, "coverage80": None, "coverage95": None, "known_hours": 5,
    "notes": ["5 known hours are too few for 24 ahead; 24 are needed"],
    "hours": [], "median": [], "low80": [], "high80": [], "low95": [], "high95": [],
}  # fmt: skip
ANOMALY = {
    "anomaly_id": "a1", "tenant": "", "model": "", "method": "seasonal", "figure": "errors", "kind": "spike",
    "side": "above", "lasts": True, "found_at": NOON, "began_at": NOON, "ended_at": NOON, "peak_at": NOON,
    "observed": 40.0, "expected": 1.0, "low": 0.0, "high": 4.0, "score": 20.0, "total_observed": 90.0,
    "total_expected": 3.0, "drivers": [("model", "=large", 38.0, 0.5, 0.97)],
}  # fmt: skip


class Scene:
    """A console whose store has a round of forecasts."""

    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] = [FORECAST, NONE]
        self.requests = 300
        self.console = ConsoleScene()
        self.console.have_tenant("acme")
        self.reader, _ = self.console.key("acme", Scope.READ)
        self.platform, _ = self.console.key("default", *Scope)
        self.console.store.answer = self._answer

    async def ask(self, path: str, **headers: str) -> httpx.Response:
        """What acme's reader is told; `platform` its administrator."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return await self.console.client.get(f"/api/usage/{path}", headers=self.reader | named)

    async def ask_as_platform(self, path: str) -> httpx.Response:
        """What the platform's administrator is told."""
        return await self.console.client.get(f"/api/usage/{path}", headers=self.platform)

    def _answer(self, sql: str, _parameters: Mapping[str, Any]) -> list[dict[str, Any]]:
        if "v_anomalies" in sql:
            return [ANOMALY]
        if "FROM forecasts" in sql:
            return self.rows
        if "held_s" in sql:
            return [{"held_s": 1.0 + one % 10 / 10} for one in range(self.requests)]
        if "AS minute" in sql:
            first = int(NOON.timestamp()) // 60 - 600
            return [{"minute": first + one, "n": 6} for one in range(600)]
        return []


@pytest.fixture
def scene() -> Scene:
    """Acme's and the platform's."""
    return Scene()


async def test_forecast_is_told_with_its_trust_and_hours_of_the_zone(scene: Scene) -> None:
    """And why there is none of another figure."""
    body = (await scene.ask("forecast?time_zone=Asia/Kathmandu")).json()
    requests, threats = body["forecasts"]
    assert (requests["relative_error"], requests["total"], len(requests["expected"])) == (0.75, 8640.0, 24)
    assert requests["expected"][0]["hour"].endswith("+05:45")
    assert (threats["total"], threats["expected"], threats["relative_error"]) == (None, [], None)
    assert "24 are needed" in threats["notes"][0]
    assert scene.console.store.tenants_asked_for() == {"acme"}


@pytest.mark.parametrize(
    ("query", "words"),
    [("", "none yet"), ("?model=m", "busiest"), ("?tenant=acme&model=m", "leave one of them out")],
)
async def test_forecast_that_there_is_not_says_why(scene: Scene, query: str, words: str) -> None:
    """Nothing is made up."""
    scene.rows = []
    body = (await scene.ask_as_platform(f"forecast{query}")).json()
    assert (body["as_of"], body["forecasts"]) == (None, [])
    assert words in body["notes"][0]


async def test_forecast_that_is_old_says_so(scene: Scene) -> None:
    """The role has stopped."""
    scene.rows = [FORECAST | {"as_of": NOON - timedelta(hours=30)}]
    assert "since" in (await scene.ask("forecast")).json()["notes"][0]


async def test_anomalies_are_told_with_what_made_them_also_as_csv(scene: Scene) -> None:
    """Nothing in it is a formula; the same answer is not sent twice."""
    first = await scene.ask("anomalies?days=3&figure=errors&lasting=true")
    (one,) = first.json()["anomalies"]
    assert (one["kind"], one["lasts"], one["drivers"][0]["value"]) == ("spike", True, "=large")
    again = await scene.ask(
        "anomalies?days=3&figure=errors&lasting=true", if_none_match=first.headers["etag"]
    )
    assert again.status_code == 304
    (row,) = csv.DictReader(io.StringIO((await scene.ask("anomalies", accept="text/csv")).text))
    assert (row["figure"], row["drivers"]) == ("errors", "model =large 97%")
    assert scene.console.store.tenants_asked_for() == {"acme"}


async def test_analytics_have_the_anomalies_and_the_forecast_of_the_whole(scene: Scene) -> None:
    """Of the tenant, not of its parts."""
    body = (await scene.ask("analytics")).json()
    assert body["anomalies"][0]["anomaly_id"] == "a1"
    assert body["forecast"]["horizon_hours"] == 24
    about = [one.sql for one in scene.console.store.asked if "v_anomalies" in one.sql]
    assert "model = ''" in about[0]
    part = await scene.ask("analytics?part=forecast", accept="text/csv")
    assert len(part.text.splitlines()) == 25


async def test_capacity_is_told_in_options_with_their_cost(scene: Scene) -> None:
    """420 requests an hour of 1.5 s are a sixth of a slot."""
    body = (await scene.ask_as_platform("capacity?wait_s=0.5&replica_cost_usd=2.50&replicas=0")).json()
    assert body["refused"] is None
    assert body["basis"]["peak_requests"] == 420
    present, fixed, by_hour = body["options"]
    assert (present["wait_p95_s"], present["utilisation"], present["hours_missed"]) == (None, None, 24)
    assert (fixed["replicas"], fixed["slots"], fixed["cost_usd"]) == (1, 4, "60.00")
    assert by_hour["replicas"] == [1] * 24


async def test_capacity_without_measurements_is_refused_with_what_is_missing(scene: Scene) -> None:
    """No figure is made up."""
    scene.requests = 50
    body = (await scene.ask_as_platform("capacity")).json()
    assert (body["options"], body["basis"]) == ([], None)
    assert "50 requests were measured; 200 are needed" in body["refused"]


@pytest.mark.parametrize(
    ("query", "status", "param"),
    [
        ("forecast?hours=25", 400, "hours"),
        ("forecast?time_zone=Paris", 400, "time_zone"),
        ("forecast?tenant=globex", 403, None),
        ("anomalies?days=0", 400, "days"),
        ("anomalies?from=2024-01-01&to=2026-01-01", 400, "from"),
        ("anomalies?tenant=globex", 403, None),
        ("capacity", 403, None),
    ],
)
async def test_question_that_makes_no_sense_or_is_not_theirs_is_refused(
    scene: Scene, query: str, status: int, param: str | None
) -> None:
    """By what is wrong; nothing is asked of the store."""
    answer = await scene.ask(query)
    assert (answer.status_code, answer.json().get("param")) == (status, param)
    assert scene.console.store.asked == []


@pytest.mark.parametrize("query", ["model=nobody", "wait_s=-1", "replica_cost_usd=free", "bound=low80"])
async def test_capacity_that_cannot_be_is_refused(scene: Scene, query: str) -> None:
    """With the parameter."""
    answer = await scene.ask_as_platform(f"capacity?{query}")
    assert (answer.status_code, answer.json()["param"]) == (400, query.split("=", maxsplit=1)[0])
