"""/api/costs and `tocsin costs` against the store's own sums."""

import asyncio
import csv
import io
import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import httpx
import pytest
import structlog
from typer.testing import CliRunner

from schemas.control import BudgetChanged, Scope, Subject
from schemas.envelope import Envelope
from schemas.topics import COMPLETED
from services.analyzer.recorder.interfaces import StoreTables
from services.analyzer.recorder.rows import process_message
from services.analyzer.recorder.tables.inference_completed import INFERENCE_COMPLETED
from services.cli.app import app
from services.common.bus.coordinates import LogPosition
from services.common.control import changes
from services.common.identity import create_key, pseudonym
from services.common.store import Store
from tests.integration.console.conftest import READ, Platform, bearer
from tests.support.analyzer.recording import completed, eventually
from tests.support.control import PEPPER, control_writer, make_key
from tests.support.time_zones import zone_at_noon

_NOW = datetime.now(UTC)
_TODAY = _NOW.replace(hour=0, minute=0, second=0, microsecond=0)


def _row(number: int) -> Any:
    """A request of acme or globex, of some day of the last ten, priced or not: dollars
    with twelve decimals, large and small.
    """
    at = _NOW - timedelta(hours=11 * (number % 22), seconds=number)
    cost = None if number % 7 == 0 else Decimal(number**5 + 1).scaleb(-12)
    event = completed(
        number,
        tenant="acme" if number % 3 else "globex",
        model=f"m{number % 2}",
        key_id=f"key{number % 4}" if number % 5 else "",
        user=pseudonym("a pseudonym key for tests", tenant="acme", user=f"u{number % 2}"),
        cost_usd=cost,
        cached_tokens=number % 10,
        completed_at=at,
        requested_at=at - timedelta(seconds=1),
    )
    envelope = Envelope.create(
        type_=COMPLETED.name, source="test", occurred_at=at, subject="x", tenant="t", sequence=number
    )
    return process_message(
        INFERENCE_COMPLETED,
        event.encode(),
        envelope.to_headers(),
        LogPosition(topic=COMPLETED.name, partition=0, offset=number),
    )


@pytest.fixture(scope="module")
def recorded(platform: Platform) -> Platform:
    """600 requests, of which one block came twice and another late."""

    async def insert() -> None:
        store = Store(platform.store_url)
        tables = StoreTables(store)
        blocks = [[_row(number) for number in range(first, first + 200)] for first in (0, 200, 400)]
        for number in (0, 2, 2, 1, 0):
            await tables.insert(INFERENCE_COMPLETED.table, blocks[number], token=f"costs-{number}")
        await store.close()

    asyncio.run(insert())
    return platform


async def _direct(platform: Platform, group: str, where: str) -> dict[str, tuple[Decimal, int, int, int]]:
    """By group: dollars, requests, those without a price, tokens; as plain SQL has them."""
    store = Store(platform.store_url)
    found = await store.query(
        f"SELECT {group} AS name, sum(cost_usd) AS cost, count() AS n, "
        "countIf(isNull(cost_usd)) AS unpriced, sum(prompt_tokens) + sum(completion_tokens) AS tokens "
        f"FROM inference_events WHERE {where} GROUP BY name"
    )
    await store.close()
    return {
        str(row["name"]): (Decimal(row["cost"] or 0), row["n"], row["unpriced"], row["tokens"])
        for row in found
    }


def _told(figures: Any) -> tuple[Decimal, int, int, int]:
    tokens = figures["prompt_tokens"] + figures["completion_tokens"]
    return Decimal(figures["cost_usd"]), figures["requests"], figures["unpriced_requests"], tokens


@pytest.mark.parametrize(
    ("asked", "group"),
    [
        ({"group_by": "model"}, "model"),
        ({"group_by": "user", "time_zone": "Asia/Kathmandu"}, "user"),
        ({"group_by": "key"}, "key_id"),
        ({"group_by": "day"}, "toDate(completed_at)"),
        (
            {"group_by": "day", "time_zone": "America/St_Johns"},
            "toDate(completed_at, 'America/St_Johns')",
        ),
    ],
)
async def test_costs_equal_direct_sql_to_the_last_digit(
    recorded: Platform, client: httpx.AsyncClient, asked: dict[str, str], group: str
) -> None:
    """Of the caller's tenant, in all and by each dimension."""
    since = (_TODAY - timedelta(days=20)).date().isoformat()
    answer = await client.get("/api/costs", params=asked | {"from": since}, headers=bearer(recorded.reader))
    assert answer.status_code == 200, answer.text
    found = answer.json()
    direct = await _direct(recorded, group, "tenant = 'acme'")
    (name,) = found["group_by"]
    assert {one[name]: _told(one) for one in found["groups"]} == direct
    (total,) = (await _direct(recorded, "tenant", "tenant = 'acme'")).values()
    assert _told(found["total"]) == total
    assert sum(Decimal(one["cost_usd"]) for one in found["groups"]) == total[0]


async def test_costs_of_a_span_are_of_its_requests_only(
    recorded: Platform, client: httpx.AsyncClient
) -> None:
    """From a moment to another, of one model; means are over what has a price."""
    since, until = _TODAY - timedelta(days=5), _TODAY - timedelta(days=2)
    parameters = {"from": since.isoformat(), "to": until.isoformat(), "model": "m1", "group_by": ""}
    answer = await client.get("/api/costs", params=parameters, headers=bearer(recorded.reader))
    span = f"completed_at >= '{since:%Y-%m-%d}' AND completed_at < '{until:%Y-%m-%d}'"
    direct = await _direct(recorded, "'all'", f"tenant = 'acme' AND model = 'm1' AND {span}")
    total = answer.json()["total"]
    assert _told(total) == direct["all"]
    assert total["unpriced_requests"] > 0
    cost, priced = Decimal(total["cost_usd"]), total["requests"] - total["unpriced_requests"]
    assert Decimal(total["cost_per_request_usd"]) == (cost / priced).quantize(Decimal("1e-12"))


async def test_costs_of_other_tenants_are_for_platform_administrators(
    recorded: Platform, client: httpx.AsyncClient
) -> None:
    """A tenant's own administrator is none; what makes no sense names its parameter."""
    tenants_admin, _ = await make_key(recorded.kafka_url, scopes=(*READ, Scope.ADMIN))
    await eventually(lambda: _is_known(client, tenants_admin), within_s=10, what="the key is known")
    asked = {"group_by": "tenant", "tenant": "globex"}
    for key in (tenants_admin, recorded.reader, recorded.infer_only):
        assert (await client.get("/api/costs", params=asked, headers=bearer(key))).status_code == 403
    everybody = await client.get(
        "/api/costs", params={"group_by": "tenant", "days": 30}, headers=bearer(recorded.admin)
    )
    assert {one["tenant"]: _told(one) for one in everybody.json()["groups"]} == await _direct(
        recorded, "tenant", "1"
    )
    for wrong in ({"from": "soon"}, {"time_zone": "x"}, {"group_by": "x"}, {"days": "0"}, {"limit": "0"}):
        refused = await client.get("/api/costs", params=wrong, headers=bearer(recorded.reader))
        assert (refused.status_code, refused.json()["param"]) == (400, next(iter(wrong)))


async def _is_known(client: httpx.AsyncClient, key: str) -> bool:
    return (await client.get("/api/costs", headers=bearer(key))).status_code == 200


async def test_costs_command_and_csv_have_the_same_figures(
    recorded: Platform, client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """As JSON, as lines, and as a spreadsheet takes it."""
    since = (_TODAY - timedelta(days=20)).date().isoformat()
    parameters = {"from": since, "group_by": "model,key", "limit": "3"}
    told = (await client.get("/api/costs", params=parameters, headers=bearer(recorded.reader))).json()
    assert (len(told["groups"]), told["has_more_groups"]) == (3, True)
    sheet = await client.get(
        "/api/costs", params=parameters, headers=bearer(recorded.reader) | {"accept": "text/csv"}
    )
    assert [row["cost_usd"] for row in csv.DictReader(io.StringIO(sheet.text))] == [
        one["cost_usd"] for one in told["groups"]
    ]
    monkeypatch.setenv("TOCSIN_CLICKHOUSE_URL", recorded.store_url)
    monkeypatch.setenv("TOCSIN_KAFKA_URL", recorded.kafka_url)
    monkeypatch.setenv("TOCSIN_PSEUDONYM_KEY", "a pseudonym key for tests")
    monkeypatch.setenv("TOCSIN_HOME", str(tmp_path))
    arguments = ["costs", "--from", since, "--group-by", "model,key", "--tenant", "acme"]
    as_json = await asyncio.to_thread(CliRunner().invoke, app, [*arguments, "--json"])
    lines = await asyncio.to_thread(CliRunner().invoke, app, arguments)
    refused = await asyncio.to_thread(CliRunner().invoke, app, ["costs", "--group-by", "x"])
    unknown = await asyncio.to_thread(CliRunner().invoke, app, ["costs", "--tenant", "nope"])
    structlog.reset_defaults()
    assert (unknown.exit_code, "there is no tenant 'nope'" in unknown.stderr) == (1, True)
    found = json.loads(as_json.stdout)
    assert all("key_name" in one for one in found["groups"])
    found["groups"] = [{name: one[name] for name in one if name != "key_name"} for one in found["groups"]]
    assert found["total"] == told["total"]
    assert found["groups"][:3] == told["groups"]
    assert told["total"]["cost_usd"] in lines.stdout
    assert (refused.exit_code, "group_by has 'x'" in refused.stderr) == (1, True)


async def test_own_usage_is_that_of_ones_own_keys_alone(
    recorded: Platform, client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """By day and model, to the last digit as direct SQL has it; with what came by an
    identity provider's token, not by the user that a request with a key names.
    """
    caller, _ = await make_key(recorded.kafka_url, user="u1", scopes=READ)
    _, other = create_key(pepper=PEPPER, name="n", tenant="acme", now=_NOW, user="u1")
    writer = control_writer(recorded.kafka_url)
    await writer.apply(changes.create(other.model_copy(update={"key_id": "key1"})))
    await writer.apply(changes.delete("key", "key1"))  # what it used stays one's own

    budget = BudgetChanged(
        budget_id="own-usage",
        tenant="acme",
        subject=Subject(kind="tenant", id="acme"),
        period="month",
        time_zone=zone_at_noon(_NOW),
        limit_usd=Decimal(5),
        created_at=_NOW,
    )
    await writer.apply(changes.create(budget))
    by_token = pseudonym("a pseudonym key for tests", tenant="acme", user="u1")
    where = f"tenant = 'acme' AND (key_id = 'key1' OR (key_id = '' AND user = '{by_token}'))"
    total = (await _direct(recorded, "tenant", where))["acme"]
    found: dict[str, Any] = {}

    async def is_told() -> bool:
        answer = await client.get("/api/me/usage", params={"days": "30"}, headers=bearer(caller))
        found.update(answer.json())
        return answer.status_code == 200 and found["total"]["requests"] == total[1]

    await eventually(is_told, within_s=10, what="the console knows the keys")
    bounds = (await client.get("/api/me/limits", headers=bearer(caller))).json()["budgets"]
    (month,) = [one for one in bounds if one["budget_id"] == "own-usage"]
    first = _NOW.astimezone(ZoneInfo(budget.time_zone)).replace(day=1, hour=0, minute=0, second=0)
    this_month = f"tenant = 'acme' AND completed_at >= '{first.astimezone(UTC):%Y-%m-%d %H:%M:%S}'"
    spent = (await _direct(recorded, "tenant", this_month)).get("acme", (Decimal(0),))[0]
    assert Decimal(month["spent_usd"]) == spent
    monkeypatch.setenv("TOCSIN_CLICKHOUSE_URL", recorded.store_url)
    monkeypatch.setenv("TOCSIN_KAFKA_URL", recorded.kafka_url)
    monkeypatch.setenv("TOCSIN_HOME", str(tmp_path))
    shown = await asyncio.to_thread(CliRunner().invoke, app, ["budgets", "show", "own-usage", "--json"])
    structlog.reset_defaults()
    told = json.loads(shown.stdout)
    assert (Decimal(told["spent_usd"]), told["is_exhausted"]) == (spent, spent >= 5)
    assert (Decimal(found["total"]["cost_usd"]), found["total"]["requests"]) == total[:2]
    by_group = await _direct(recorded, "concat(toString(toDate(completed_at, 'UTC')), model)", where)
    groups = {one["day"] + one["model"]: Decimal(one["cost_usd"]) for one in found["groups"]}
    assert groups == {name: figures[0] for name, figures in by_group.items()}
    stranger = await client.get("/api/me/usage", headers=bearer(recorded.stranger))
    assert stranger.json()["total"]["requests"] == 0
