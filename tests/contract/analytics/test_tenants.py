"""What an analyst of one tenant gets to see, tried as an attacker on the real engine."""

import asyncio
import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from services.common.errors import ConfigError
from services.common.store import Store
from services.common.store.migrations import migrate
from services.common.store.tenant_views import TENANT_VIEWS, reader_statements, server_statements
from services.embedded.clickhouse.users import ANALYSTS, AnalystsFile
from tests.support.analyzer.traffic import Traffic, generate
from tests.support.store import RunningStore

MINE, THEIRS = "tenant-00", "tenant-01"


@pytest.fixture(scope="module")
def scene(store: RunningStore) -> Iterator[RunningStore]:
    """Requests, findings and ratings of two tenants, and an analyst of each."""
    migrate(store.url("admin"))

    async def fill() -> None:
        door = Store(store.url("admin"))
        await generate(door, Traffic(3_000, 2, datetime(2026, 11, 20, tzinfo=UTC), tenants=2, users=10))
        for table, time, extra in (
            ("security_findings", "found_at", "finding_id"),
            ("feedback", "submitted_at", "feedback_id"),
            ("finding_feedback", "given_at", "finding_id"),
            ("kpi_breaches", "detected_at", "breach_id"),
            ("alert_changes", "changed_at", "alert_id"),
            ("drift_reports", "reported_at", "report_id"),
            ("forecasts", "as_of", "figure"),
            ("anomalies", "ended_at", "anomaly_id"),
            ("retraining_requests", "requested_at", "retraining_id"),
        ):
            await door.command(
                f"INSERT INTO {table} ({time}, tenant, {extra}) "
                f"SELECT now64(3), '{MINE}', 'a' UNION ALL SELECT now64(3), '{THEIRS}', 'b'"
            )
        await door.command(
            "INSERT INTO recommendation_changes (changed_at, tenant, change, rule) "
            f"VALUES (now64(3), '{MINE}', 'raised', 'a'), (now64(3), '{THEIRS}', 'raised', 'b')"
        )
        await door.close()

    asyncio.run(fill())
    file = AnalystsFile(store.folder / "data" / ANALYSTS)
    for name, tenant in (("anna", MINE), ("bob", THEIRS)):
        store.passwords[name] = file.add(name, tenant)
    yield store
    for name in ("anna", "bob"):
        file.remove(name)


def _any(values: dict[str, str]) -> Any:
    return values


def _rows(store: RunningStore, sql: str, user: str = "anna") -> list[dict[str, Any]]:
    answer = store.ask(f"{sql} FORMAT JSONEachRow", user=user)
    assert answer.status == 200, answer.text
    return [json.loads(line) for line in answer.text.splitlines()]


@pytest.mark.parametrize("view", TENANT_VIEWS)
def test_views_tell_a_tenants_analyst_of_their_tenant_alone(scene: RunningStore, view: str) -> None:
    """All of the tenant's rows, as the platform's analyst sees them, and no other; the
    other tenant's analyst the other way round.
    """
    for user, tenant in (("anna", MINE), ("bob", THEIRS), ("anna", MINE)):
        (mine,) = _rows(scene, f"SELECT count() AS n, groupUniqArray(tenant) AS tenants FROM {view}", user)
        (all_rows,) = _rows(
            scene,
            f"SELECT countIf(tenant = '{tenant}') AS n, uniqExact(tenant) AS tenants FROM {view}",
            "analyst",
        )
        assert mine["n"] == all_rows["n"]
        if mine["n"]:
            assert mine["tenants"] == [tenant]
    assert view in ("v_errors", "v_slow_requests") or all_rows["tenants"] > 1


def test_figures_of_a_tenants_view_rest_on_their_rows_alone(scene: RunningStore) -> None:
    """What is summed before it is filtered is of the tenant, too."""
    (told,) = _rows(scene, "SELECT sum(requests) AS n, sum(cost_usd) AS usd FROM v_usage_daily")
    (real,) = _rows(
        scene,
        f"SELECT count() AS n, sum(cost_usd) AS usd FROM inference_events WHERE tenant = '{MINE}'",
        "admin",
    )
    assert told == real


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT count() FROM inference_events",
        "SELECT count() FROM tocsin.inference_per_hour",
        "SELECT * FROM inference_per_hour_writer",
        "SELECT * FROM audit_log",
        "SELECT * FROM v_audit",
        "SELECT * FROM v_ledger",
        "SELECT * FROM v_dead_letters",
        "SELECT * FROM v_rollups",
        "SELECT * FROM erasing",
        "SELECT * FROM schema_versions",
        "SELECT * FROM merge('tocsin', '^inference_events$')",
        "SELECT * FROM merge('tocsin', '^v_requests$')",
        "SELECT * FROM mergeTreeIndex('tocsin', 'inference_events')",
        "SELECT * FROM mergeTreeProjection('tocsin', 'inference_events', 'by_user')",
        "SELECT * FROM loop('tocsin', 'v_requests')",
        "SELECT * FROM loop('tocsin', 'inference_events')",
        "SELECT * FROM remote('127.0.0.1', 'tocsin', 'inference_events')",
        "SELECT * FROM cluster('default', 'tocsin', 'inference_events')",
        "SELECT * FROM file('data/*', 'RawBLOB')",
        "SELECT file('config/users.xml')",
        "SELECT * FROM file('analysts/analysts.json', 'RawBLOB')",
        "SELECT * FROM url('http://127.0.0.1/', 'RawBLOB')",
        "SELECT * FROM executable('id', 'RawBLOB')",
        "SELECT * FROM dictionary('tocsin.inference_events')",
        "SELECT dictGet('tocsin.x', 'y', 1)",
        "SELECT joinGet('tocsin.inference_events', 'tenant', 1)",
        "SELECT * FROM view(SELECT * FROM inference_events)",
        "SELECT * FROM viewIfPermitted(SELECT tenant FROM inference_events ELSE null('tenant String'))",
        "SELECT 'tenant-01' IN (SELECT tenant FROM inference_events)",
        "WITH other AS (SELECT tenant FROM inference_events) SELECT * FROM other",
        "SELECT (SELECT any(prompt_text) FROM inference_events)",
        "SELECT * FROM v_requests JOIN inference_events USING (request_id)",
        "SELECT * FROM v_requests UNION ALL SELECT * FROM inference_events",
        "SELECT * FROM v_requests SETTINGS workload = 'everybody'",
        "SELECT * FROM (SELECT tenant FROM v_requests SETTINGS workload = 'everybody')",
        "SELECT tenant FROM v_requests SETTINGS additional_table_filters = {'tocsin.v_requests': '1'}",
        "SELECT tenant FROM v_requests SETTINGS readonly = 0",
        "SELECT tenant FROM v_requests SETTINGS allow_experimental_analyzer = 0",
        "SET workload = 'everybody'",
        "SET ROLE store_analyst",
        "SET ROLE ALL",
        "SELECT 1; SET ROLE store_admin",
        "EXECUTE AS default SELECT * FROM inference_events",
        "EXPLAIN ESTIMATE SELECT * FROM v_requests",
        "EXPLAIN indexes = 1 SELECT * FROM v_requests",
        "EXPLAIN PLAN SELECT * FROM inference_events",
        "DESCRIBE TABLE inference_events",
        "SHOW CREATE TABLE inference_events",
        "SELECT * FROM system.query_log",
        "SELECT * FROM system.row_policies",
        "SELECT * FROM system.users",
        "SELECT * FROM system.mutations",
        "SELECT * FROM system.projection_parts",
        "SELECT * FROM information_schema.views",
        "SHOW CREATE ROW POLICY ON v_requests",
        "CREATE VIEW mine AS SELECT * FROM inference_events",
        "CREATE TEMPORARY TABLE mine AS SELECT * FROM inference_events",
        "INSERT INTO feedback (tenant) VALUES ('tenant-00')",
        "ALTER TABLE v_requests MODIFY QUERY SELECT * FROM inference_events",
        "DROP VIEW v_requests",
    ],
)
def test_nothing_else_of_the_store_is_told(scene: RunningStore, sql: str) -> None:
    """Refused, or an answer in which the other tenant, its ids and its counts are not."""
    for method in ("POST", "GET"):
        answer = scene.ask(
            "" if method == "GET" else sql,
            user="anna",
            method=method,
            **_any({"query": sql} if method == "GET" else {}),
        )
        if answer.status == 200:
            assert THEIRS not in answer.text, sql
            assert "information_schema" in sql or answer.text == "", (
                f"{sql} was answered: {answer.text[:200]}"
            )


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("workload", "everybody"),
        ("role", "store_analyst"),
        ("readonly", "0"),
        ("additional_table_filters", "{'tocsin.v_requests': '1'}"),
        ("param_workload", "everybody"),
        ("session_id", "mine"),
        ("log_comment", "x', workload = 'everybody"),
        ("session_timezone", "UTC', workload = 'everybody"),
        ("database", "system"),
    ],
)
def test_parameters_of_the_url_change_nothing(scene: RunningStore, name: str, value: str) -> None:
    """Neither another tenant nor another right by a setting, a role or a session."""
    answer = scene.ask("SELECT DISTINCT tenant FROM tocsin.v_requests", user="anna", **_any({name: value}))
    assert answer.text == MINE if answer.status == 200 else answer.status in (400, 401, 403, 404, 500)


def test_system_tables_tell_of_views_and_of_no_size(scene: RunningStore) -> None:
    """Names and comments of what they may read; no table, no rows, no bytes."""
    tables = _rows(scene, "SELECT name, total_rows, total_bytes FROM system.tables WHERE database = 'tocsin'")
    assert {one["name"] for one in tables} == set(TENANT_VIEWS)
    assert {one["total_rows"] for one in tables} == {None}
    assert {
        one["table"] for one in _rows(scene, "SELECT table FROM system.columns WHERE database = 'tocsin'")
    } == set(TENANT_VIEWS)
    for table in ("parts", "parts_columns", "data_skipping_indices", "projections"):
        answer = scene.ask(f"SELECT * FROM system.{table}", user="anna")
        assert answer.status != 200 or answer.text == ""


def test_every_view_with_tenants_is_listed_or_kept_from_them(scene: RunningStore) -> None:
    """A new view with a tenant is one or the other on purpose."""
    found = _rows(
        scene,
        "SELECT table FROM system.columns WHERE database = 'tocsin' AND name = 'tenant' "
        "AND startsWith(table, 'v_')",
        "admin",
    )
    assert {one["table"] for one in found} == set(TENANT_VIEWS) | {"v_audit"}


def test_analysts_come_and_go_while_the_store_runs(scene: RunningStore) -> None:
    """At once, by the file alone; a broken file lets nobody of it in."""
    path = scene.folder / "data" / ANALYSTS
    file = AnalystsFile(path)
    scene.passwords["carl"] = file.add("carl", "")
    assert len(_rows(scene, "SELECT DISTINCT tenant FROM v_requests", "carl")) > 1
    for wrong in (("carl", ""), ("admin", ""), ("Ann", ""), ("x y", ""), ("dora", "a'b"), ("dora", "*")):
        with pytest.raises(ConfigError):
            file.add(*wrong)
    assert file.remove("carl")
    assert not file.remove("carl")
    assert scene.ask("SELECT 1", user="carl").code == 516
    kept = path.read_text()
    path.write_text(kept.replace("tenant_analyst", "admin"))
    assert scene.ask("SELECT 1", user="anna").code == 516
    path.write_text("{")
    assert scene.ask("SELECT 1", user="anna").code == 516
    assert scene.ask("SELECT 1", user="analyst").status == 200
    path.write_text(kept)
    assert scene.ask("SELECT 1", user="anna").status == 200


def test_statements_for_a_server_are_ones_that_the_engine_can_read(scene: RunningStore) -> None:
    """Parsed by the embedded engine, which cannot run them; a server is not here."""
    for sql in (*server_statements("anna", "acme", "0" * 64), *reader_statements("service")):
        quoted = sql.replace("'", "''")
        answer = scene.ask(f"SELECT formatQuerySingleLine('{quoted}')")
        assert answer.status == 200, (sql, answer.text)
