"""/api/requests, /api/usage/breaches and /api/quality/models, held against plain SQL."""

import csv
import io
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from schemas.control import Scope
from services.console.routes.figures.kpi import _TYPES as BREACH_TYPES
from services.console.routes.figures.kpi import VIEW as BREACHES
from services.console.routes.figures.requests import _TYPES as REQUEST_TYPES
from services.console.routes.figures.requests import VIEW as REQUESTS
from tests.contract.analytics.conftest import BEGIN, SPAN
from tests.support.console.scene import TENANT_ADMIN, ConsoleScene
from tests.support.store import RunningStore

FILTERS = {
    "model=model-1": "model = 'model-1'",
    "outcome=failed": "outcome = 'failed'",
    "filter=duration_ms>=700": "duration_ms >= 700",
    "filter=user=": "user IS NULL",
}


def _plain(store: RunningStore, sql: str) -> list[dict[str, Any]]:
    found = store.ask(f"{sql} FORMAT JSONEachRow", database="tocsin")
    assert found.status == 200, found.text
    return [json.loads(line) for line in found.text.splitlines()]


async def _get(scene: ConsoleScene, url: str, headers: dict[str, str], **more: str) -> httpx.Response:
    return await scene.client.get(url, headers=headers | more)


@pytest.mark.parametrize(("view", "types"), [(REQUESTS, REQUEST_TYPES), (BREACHES, BREACH_TYPES)])
def test_lists_columns_have_the_types_that_the_views_say(
    filled: RunningStore, view: str, types: dict[str, str]
) -> None:
    """By which their filters compare."""
    rows = _plain(
        filled, f"SELECT name, type FROM system.columns WHERE database = 'tocsin' AND table = '{view}'"
    )
    known = {
        row["name"]: row["type"]
        .replace("LowCardinality(Nullable(String))", "Nullable(String)")
        .replace("LowCardinality(String)", "String")
        for row in rows
    }
    assert {name: known[name] for name in types} == types


_ASKED = st.fixed_dictionaries(
    {
        "span": st.lists(st.integers(0, 172_800), min_size=2, max_size=2, unique=True).map(sorted),
        "tenant": st.sampled_from(["", "tenant-00", "tenant-02"]),
        "condition": st.sampled_from(["", *FILTERS]),
        "limit": st.integers(40, 500),
    }
)


@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(asked=_ASKED)
async def test_list_equals_plain_sql_page_by_page(
    filled: RunningStore, scene: ConsoleScene, asked: dict[str, Any]
) -> None:
    """The newest first, none missing and none twice."""
    since, until = (BEGIN + timedelta(seconds=one) for one in asked["span"])
    headers, _ = scene.key("default", *Scope)
    url = f"/api/requests?from={since:%FT%T}Z&to={until:%FT%T}Z&limit={asked['limit']}&{asked['condition']}"
    url += f"&tenant={asked['tenant']}" if asked["tenant"] else ""
    got: list[str] = []
    cursor: str | None = ""
    while cursor is not None:
        answer = await _get(scene, url + (f"&cursor={cursor}" if cursor else ""), headers)
        assert answer.status_code == 200, answer.text
        got += [row["request_id"] for row in answer.json()["data"]]
        cursor = answer.json()["next_cursor"]
    mine = f"tenant = '{asked['tenant']}'" if asked["tenant"] else "1"
    expected = _plain(
        filled,
        f"SELECT request_id FROM v_requests WHERE completed_at >= '{since:%F %T}' "
        f"AND completed_at < '{until:%F %T}' AND {mine} AND ({FILTERS.get(asked['condition'], '1')}) "
        "ORDER BY completed_at DESC, tenant DESC, request_id DESC",
    )
    assert got == [row["request_id"] for row in expected]


async def test_slowest_are_told_first(filled: RunningStore, scene: ConsoleScene) -> None:
    """Of the caller's tenant alone."""
    headers, _ = scene.key("tenant-01", Scope.READ)
    answer = await _get(scene, f"/api/requests?{SPAN}&order=slowest&limit=7", headers)
    expected = _plain(
        filled,
        "SELECT request_id FROM v_requests WHERE tenant = 'tenant-01' AND completed_at >= '2026-09-18' "
        "AND completed_at < '2026-09-20' ORDER BY duration_ms DESC LIMIT 7",
    )
    assert [row["request_id"] for row in answer.json()["data"]] == [row["request_id"] for row in expected]
    assert answer.json()["next_cursor"] is None


async def test_list_comes_as_csv_and_not_again(scene: ConsoleScene) -> None:
    """By Accept; and by If-None-Match nothing."""
    headers, _ = scene.key("tenant-01", Scope.READ)
    url = f"/api/requests?{SPAN}&limit=5"
    told = await _get(scene, url, headers, accept="text/csv")
    assert [row["tenant"] for row in csv.DictReader(io.StringIO(told.text))] == ["tenant-01"] * 5
    again = await _get(scene, url, headers, accept="text/csv", **{"if-none-match": told.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")


async def test_life_of_a_request_is_told_to_its_tenant(filled: RunningStore, scene: ConsoleScene) -> None:
    """Texts and findings to administrators; to others there is no such request."""
    (row,) = _plain(
        filled,
        "SELECT request_id, outcome FROM v_requests WHERE tenant = 'tenant-01' "
        "AND completed_at < '2026-09-20' AND outcome = 'completed' AND request_id NOT IN "
        "(SELECT request_id FROM v_requests WHERE tenant != 'tenant-01') LIMIT 1",  # other tests' traffic
    )
    filled.ask(
        "INSERT INTO security_findings (found_at, tenant, request_id, finding_id, level) VALUES "
        f"('2026-09-19 00:00:00', 'tenant-01', '{row['request_id']}', 'f-life', 'high')",
        database="tocsin",
    )
    url = f"/api/requests/{row['request_id']}"
    reader, admin, other = (
        scene.key(*key)[0]
        for key in (("tenant-01", Scope.READ), ("tenant-01", *TENANT_ADMIN), ("tenant-00", *TENANT_ADMIN))
    )
    told, all_ = (await _get(scene, url, reader)).json(), (await _get(scene, url, admin)).json()
    assert told["request"]["outcome"] == "completed"
    events = [one["event"] for one in told["events"]]
    assert events[0] == "accepted"
    assert {"first_token", "finished"} <= set(events)
    assert "prompt_text" not in told["request"]
    assert "prompt_text" in all_["request"]
    assert ("finding" in events, "finding" in {one["event"] for one in all_["events"]}) == (False, True)
    assert (await _get(scene, url, other)).status_code == 404
    assert (await _get(scene, "/api/requests/req_none", admin)).status_code == 404


async def test_breaches_are_listed_as_they_stand(filled: RunningStore, scene: ConsoleScene) -> None:
    """Open ones and those over; a tenant's to it alone."""
    filled.ask(
        "INSERT INTO kpi_breaches "
        "(detected_at, breach_id, tenant, state, metric, value, threshold, model) VALUES "
        "('2026-09-19 01:00:00', 'b1', 'tenant-01', 'breached', 'error_rate', .1, .05, 'm'), "
        "('2026-09-19 02:00:00', 'b1', 'tenant-01', 'recovered', 'error_rate', .01, .05, 'm'), "
        "('2026-09-19 03:00:00', 'b2', 'tenant-01', 'breached', 'latency_p95_s', 9, 5, 'n'), "
        "('2026-09-19 04:00:00', 'b3', '', 'breached', 'error_rate', .1, .05, 'm')",
        database="tocsin",
    )
    reader, platform = scene.key("tenant-01", Scope.READ)[0], scene.key("default", *Scope)[0]

    async def ids(query: str, headers: dict[str, str]) -> list[str]:
        answer = await _get(scene, f"/api/usage/breaches?{SPAN}{query}", headers)
        assert answer.status_code == 200, answer.text
        return [one["breach_id"] for one in answer.json()["data"]]

    assert await ids("", reader) == ["b2", "b1"]
    assert await ids("", platform) == ["b3", "b2", "b1"]
    assert await ids("&state=open", reader) == ["b2"]
    assert await ids("&state=recovered&metric=error_rate", reader) == ["b1"]
    assert await ids("&model=n", platform) == ["b2"]


async def test_models_are_told_with_scores_to_the_platform_only(
    filled: RunningStore, scene: ConsoleScene
) -> None:
    """Figures of the last minutes equal plain SQL; a score is of all tenants."""
    now = datetime.now(UTC)
    filled.ask(
        "INSERT INTO inference_events (completed_at, tenant, model, request_id, outcome, duration_ms) SELECT "
        "now64(3) - 30, if(number % 3, 'tenant-01', 'tenant-00'), 'fresh', concat('now-', toString(number)), "
        "if(number % 5, 'completed', 'failed'), 100 FROM numbers(60)",
        database="tocsin",
    )
    reader, platform = scene.key("tenant-01", Scope.READ)[0], scene.key("default", *Scope)[0]
    told = (await _get(scene, "/api/quality/models?minutes=10", reader)).json()
    all_ = (await _get(scene, "/api/quality/models?minutes=10", platform)).json()
    (mine,) = (one for one in told["figures"] if one["name"] == "fresh")
    (whole,) = (one for one in all_["figures"] if one["name"] == "fresh")
    (row,) = _plain(
        filled,
        "SELECT count() AS n, countIf(outcome = 'failed') AS failed FROM v_requests "
        "WHERE model = 'fresh' AND tenant = 'tenant-01'",
    )
    assert (mine["requests"], mine["errors"]) == (row["n"], row["failed"]) == (40, 8)
    assert whole["requests"] == 60
    assert told["scores"] is None
    assert "fresh" in {one["model"] for one in all_["scores"]}
    assert datetime.fromisoformat(told["since"]) <= now - timedelta(minutes=8)
