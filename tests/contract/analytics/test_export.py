"""Exports of a real store, held against plain SQL; through the console's own routes."""

import asyncio
import csv
import io
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from schemas.control import Scope
from services.common.store import Store
from services.common.store.migrations import migrate
from services.common.store.reading import ViewReader
from services.console.domain.exporting.catalogue import EXPORTED, NOT_EXPORTED, Reach, views_for
from services.console.domain.exporting.places import Question, whole
from services.console.read_models.rows.export import Exports
from tests.contract.analytics.conftest import BEGIN, END, SPAN, TRAFFIC
from tests.support.analyzer.traffic import generate
from tests.support.console.scene import TENANT_ADMIN, ConsoleScene
from tests.support.store import RunningStore, running_store


def _plain(store: RunningStore, sql: str) -> list[dict[str, Any]]:
    found = store.ask(
        f"{sql} FORMAT JSONEachRow",
        database="tocsin",
        date_time_output_format="iso",
        output_format_json_quote_decimals=1,
    )
    assert found.status == 200, found.text
    return [json.loads(line) for line in found.text.splitlines()]


def _of(store: RunningStore, where: str = "1") -> list[dict[str, Any]]:
    return _plain(
        store,
        f"SELECT * FROM v_requests WHERE completed_at >= '{BEGIN:%F %T}' AND completed_at < '{END:%F %T}' "
        f"AND ({where}) ORDER BY completed_at, tenant, request_id",
    )


def _lines(answer: httpx.Response) -> list[dict[str, Any]]:
    assert answer.status_code == 200, answer.text
    return [json.loads(line) for line in answer.text.splitlines()]


def test_every_view_is_exported_or_left_out_for_a_reason(filled: RunningStore) -> None:
    """Whoever adds one decides who may export it."""
    views = {
        row["name"]
        for row in _plain(
            filled, "SELECT name FROM system.tables WHERE startsWith(name, 'v_') AND database = 'tocsin'"
        )
    }
    assert views == {*EXPORTED, *NOT_EXPORTED}


@pytest.mark.parametrize("name", sorted(EXPORTED))
async def test_view_is_exported_whole_to_the_platform_and_by_tenant(
    filled: RunningStore, reader: ViewReader, name: str
) -> None:
    """As many rows as it has, whatever its time and its keys are; a tenant's are its own."""
    exports, view = Exports(reader), EXPORTED[name]
    columns = {one.name: one.type for one in (await exports.columns())[name]}
    stretch = whole(view, datetime(2020, 1, 1, tzinfo=UTC), datetime(2030, 1, 1, tzinfo=UTC))
    for tenant in ("", *(("tenant-01",) if name in views_for(Reach.ADMIN) else ())):
        question = Question(name, view, tuple(columns), (), tenant)
        lines = [
            line
            async for piece in exports.pieces(question, stretch, "json", columns, named=True)
            for line in piece.data.splitlines()
        ]
        where = f"WHERE tenant = '{tenant}'" if tenant else ""
        (counted,) = _plain(filled, f"SELECT count() AS n FROM {name} {where}")
        assert len(lines) == counted["n"]


_CONDITIONS = {
    "": "1",
    "model=model-1": "model = 'model-1'",
    "outcome!=completed": "outcome != 'completed'",
    "duration_ms>=900": "duration_ms >= 900",
    "error_code=": "error_code IS NULL",
    "error_code!=replica_lost": "error_code != 'replica_lost' OR error_code IS NULL",
    "cost_usd<0.0002": "cost_usd < 0.0002",
    "finish_reasons=stop": "has(finish_reasons, 'stop')",
    "stream=true": "stream",
}
_ASKED = st.fixed_dictionaries(
    {
        "span": st.lists(st.integers(0, 172_800), min_size=2, max_size=2, unique=True).map(sorted),
        "tenant": st.sampled_from(["", "tenant-00", "tenant-02"]),
        "filter": st.sampled_from(sorted(_CONDITIONS)),
        "limit": st.one_of(st.none(), st.integers(300, 3_000)),
        "format": st.sampled_from(["json", "csv", "parquet"]),
    }
)


@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(asked=_ASKED)
async def test_export_equals_plain_sql(
    filled: RunningStore, scene: ConsoleScene, asked: dict[str, Any]
) -> None:
    """Row by row and in order, whole or page by page, in every format."""
    since, until = (BEGIN + timedelta(seconds=one) for one in asked["span"])
    query = {name: asked[name] for name in ("tenant", "filter", "limit", "format") if asked[name]}
    query |= {"from": since.isoformat(), "to": until.isoformat()}
    headers, _ = scene.key("default", *Scope)
    got: list[str] = []
    cursor: str | None = ""
    while cursor is not None:
        sent = query | ({"cursor": cursor} if cursor else {})
        answer = await scene.client.get("/api/export/v_requests", headers=headers, params=sent)
        assert answer.status_code == 200, answer.text
        got += _ids(answer, asked["format"], named=not cursor)
        cursor = answer.headers.get("x-next-cursor")
        assert cursor is None or asked["limit"]
    mine = f"tenant = '{asked['tenant']}'" if asked["tenant"] else "1"
    expected = _of(
        filled,
        f"completed_at >= '{since:%F %T}' AND completed_at < '{until:%F %T}' "
        f"AND ({_CONDITIONS[asked['filter']]}) AND {mine}",
    )
    assert got == [row["request_id"] for row in expected]


def _ids(answer: httpx.Response, form: str, *, named: bool) -> list[str]:
    if form == "json":
        return [row["request_id"] for row in _lines(answer)]
    if form == "parquet":
        return list(pq.read_table(pa.BufferReader(answer.content), columns=["request_id"])[0].to_pylist())
    rows = list(csv.reader(io.StringIO(answer.text)))
    assert not named or rows[0][4] == "request_id"
    return [row[4] for row in rows[1 if named else 0 :]]


async def test_rows_are_told_with_every_value(filled: RunningStore, scene: ConsoleScene) -> None:
    """JSON as ClickHouse has it, with money as text; Parquet with types."""
    headers, _ = scene.key("tenant-01", *TENANT_ADMIN)
    mine = _of(filled, "tenant = 'tenant-01'")
    answer = await scene.client.get(f"/api/export/v_requests?{SPAN}", headers=headers)
    assert _lines(answer) == mine
    assert isinstance(mine[0]["cost_usd"], str | None)
    answer = await scene.client.get(f"/api/export/v_requests?{SPAN}&format=parquet", headers=headers)
    table = pq.read_table(pa.BufferReader(answer.content))
    assert table.num_rows == len(mine)
    assert table["cost_usd"].type == pa.decimal128(18, 12)
    assert [str(one) if one is not None else None for one in table["request_id"].to_pylist()] == [
        row["request_id"] for row in mine
    ]


async def test_tenants_caller_is_told_of_their_tenant_whatever_is_asked(
    filled: RunningStore, reader: ViewReader, scene: ConsoleScene
) -> None:
    """By our condition, and where that were forgotten by the engine."""
    headers, _ = scene.key("tenant-01", Scope.READ)
    answer = await scene.client.get(f"/api/export/v_requests?{SPAN}&columns=tenant", headers=headers)
    assert {row["tenant"] for row in _lines(answer)} == {"tenant-01"}
    other = await scene.client.get(f"/api/export/v_requests?{SPAN}&tenant=tenant-00", headers=headers)
    assert other.status_code == 403
    asked = "SELECT DISTINCT tenant FROM v_requests WHERE completed_at < '2026-10-01'"
    assert await reader.rows(asked, tenant="tenant-01") == [{"tenant": "tenant-01"}]
    for sql in (
        "SELECT 1 FROM inference_events",
        "SELECT 1 FROM v_audit",
        "SYSTEM FLUSH LOGS",
        "SET workload = 'everybody'",
    ):
        with pytest.raises(Exception, match=r"497|164|ACCESS|READONLY"):
            await reader.rows(sql, tenant="tenant-01")
    denied = filled.ask("SELECT 1", user="analyst", role="tocsin_tenant_reader", SQL_tenant="'tenant-01'")
    assert denied.code == 497


async def test_texts_and_findings_are_for_administrators(scene: ConsoleScene) -> None:
    """Neither told nor asked by."""
    reader, _ = scene.key("tenant-01", Scope.READ)
    admin, _ = scene.key("tenant-01", *TENANT_ADMIN)
    get = scene.client.get
    (row, *_) = _lines(await get(f"/api/export/v_requests?{SPAN}&limit=1", headers=reader))
    assert "prompt_text" not in row
    for query in ("columns=prompt_text", "filter=prompt_text!=", "filter=response_text=x"):
        assert (await get(f"/api/export/v_requests?{query}", headers=reader)).status_code in (400, 403)
    assert (await get("/api/export/v_findings", headers=reader)).status_code == 403
    (row, *_) = _lines(await get(f"/api/export/v_requests?{SPAN}&limit=1", headers=admin))
    assert row["prompt_text"] is None
    assert (await get("/api/export/v_audit", headers=admin)).status_code == 403
    listed = (await get("/api/export", headers=reader)).json()["views"]
    assert "v_findings" not in {one["view"] for one in listed}


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("v_nothing", "v_requests"),
        ("v_ledger", "v_requests"),
        ("v_requests?columns=nothing", "completed_at"),
        ("v_requests?filter=nothing=1", "completed_at"),
        ("v_requests?filter=duration_ms", "<="),
        ("v_requests?filter=duration_ms>=soon", "Float64"),
        ("v_requests?filter=attempts=1.5", "UInt16"),
        ("v_requests?filter=stream>true", "Bool"),
        ("v_requests?filter=completed_at>=2026-11-01", "DateTime64"),
        ("v_requests?format=xml", "json"),
        ("v_requests?limit=0", "limit"),
        ("v_requests?cursor=x", "cursor"),
        ("v_requests?from=2026-09-18&to=2026-09-01", "before"),
    ],
)
async def test_what_makes_no_sense_is_refused_with_what_does(
    scene: ConsoleScene, query: str, said: str
) -> None:
    """400 or 404 that says what there is."""
    headers, _ = scene.key("tenant-01", Scope.READ)
    answer = await scene.client.get(f"/api/export/{query}", headers=headers)
    assert answer.status_code in (400, 404)
    assert said in answer.text


async def test_cursor_goes_on_with_its_own_question_only(scene: ConsoleScene) -> None:
    """With another filter, view or span it is refused."""
    headers, _ = scene.key("tenant-01", Scope.READ)
    url = f"/api/export/v_requests?{SPAN}&limit=5"
    cursor = (await scene.client.get(url, headers=headers)).headers["x-next-cursor"]
    for other in (
        f"{url}&filter=model=model-1",
        url.replace("v_requests", "v_errors"),
        url.replace("18", "17"),
    ):
        answer = await scene.client.get(f"{other}&cursor={cursor}", headers=headers)
        assert (answer.status_code, answer.json()["param"]) == (400, "cursor")


async def test_text_that_a_sheet_would_run_is_kept_from_it_in_csv(
    filled: RunningStore, scene: ConsoleScene
) -> None:
    """As every CSV here; numbers are left alone."""
    filled.ask(
        "INSERT INTO inference_events (completed_at, tenant, model, request_id, mean_logprob) VALUES "
        "('2026-09-25 00:00:00', 'tenant-01', '=cmd()', '+1', -1), "
        "('2026-09-25 00:00:01', 'tenant-01', 'a\"\\n', 'r', NULL)",
        database="tocsin",
    )
    headers, _ = scene.key("tenant-01", Scope.READ)
    query = "from=2026-09-25&to=2026-09-26&format=csv&columns=model,request_id,mean_logprob"
    answer = await scene.client.get(f"/api/export/v_requests?{query}", headers=headers)
    assert list(csv.reader(io.StringIO(answer.text))) == [
        ["model", "request_id", "mean_logprob"],
        ["'=cmd()", "'+1", "-1"],
        ['a"\n', "r", ""],
    ]


async def test_only_so_many_are_written_at_once(reader: ViewReader, scene: ConsoleScene) -> None:
    """Of a tenant, then of all; a place comes free again."""
    exports = Exports(reader)
    with (
        exports.place("a") as one,
        exports.place("a") as two,
        exports.place("a") as three,
        exports.place("b"),
    ):
        assert (one, two, three) == ("", "", "tenant")
        with exports.place("c") as four, exports.place("d") as five:
            assert (four, five) == ("", "all")
    with exports.place("a") as again:
        assert again == ""


async def test_audit_is_told_how_far_an_export_came(scene: ConsoleScene, filled: RunningStore) -> None:
    """With its rows, and that it was whole."""
    headers, _ = scene.key("tenant-01", *TENANT_ADMIN)
    await scene.client.get(f"/api/export/v_requests?{SPAN}", headers=headers)
    begun = scene.recorded[-1]
    ended = scene.console.auditing.writer._queue[-1]
    assert (begun.action, begun.object_id, ended.action) == (
        "view.exported",
        "v_requests",
        "view.export_ended",
    )
    assert ended.after == {"rows": len(_of(filled, "tenant = 'tenant-01'")), "whole": True, "format": "json"}


async def test_store_that_is_killed_midway_is_waited_for_and_the_rows_are_the_same(tmp_path: Path) -> None:
    """Kill -9 between two stretches: no row is missing or there twice."""
    with running_store(tmp_path / "store") as running:
        migrate(running.url("admin"))
        async with Store(running.url("admin")) as door:
            await generate(door, TRAFFIC)
        made = ViewReader(running.url("service"))
        exports, view = Exports(made), EXPORTED["v_requests"]
        question = Question("v_requests", view, ("request_id",))
        expected = [row["request_id"] for row in _of(running)]
        got: list[str] = []
        starting: asyncio.Task[None] | None = None
        async for piece in exports.pieces(question, whole(view, BEGIN, END), "json", {}, named=True):
            got += [json.loads(line)["request_id"] for line in piece.data.splitlines()]
            if starting is None:
                running.stop(kill=True)
                starting = asyncio.create_task(asyncio.to_thread(running.start))
        await made.close()
        assert starting is not None
        await starting
    assert got == expected
