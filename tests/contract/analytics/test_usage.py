"""/api/usage/analytics over thousands of generated requests, held against plain SQL."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from services.common.store import Store
from services.console.read_models.usage.query import UsageQuery
from services.console.read_models.usage.reader import Usage

END = datetime(2026, 11, 20, tzinfo=UTC)
WHOLE = END - timedelta(days=3)
UTC_ZONE, PARIS, KATHMANDU = ZoneInfo("UTC"), ZoneInfo("Europe/Paris"), ZoneInfo("Asia/Kathmandu")

QUERIES = [
    UsageQuery(WHOLE, END, UTC_ZONE),
    UsageQuery(WHOLE + timedelta(hours=1), END, PARIS, {"tenant": "tenant-00"}),
    UsageQuery(WHOLE + timedelta(minutes=75), END - timedelta(hours=2), KATHMANDU),
    UsageQuery(WHOLE + timedelta(seconds=4021), END - timedelta(seconds=29), PARIS, {"model": "model-1"}),
    UsageQuery(
        WHOLE + timedelta(hours=30, seconds=1),
        WHOLE + timedelta(hours=30, seconds=50),
        UTC_ZONE,
        {"tenant": "tenant-01", "model": "model-0"},
    ),
    UsageQuery(END + timedelta(days=1), END + timedelta(days=3), UTC_ZONE),
]


async def _direct(store: Store, query: UsageQuery, group: str, extra: str = "") -> dict[str, dict[str, Any]]:
    """Figures by a group, from the requests themselves."""
    where = "".join(f" AND {name} = '{value}'" for name, value in query.only.items())
    rows = await store.query(
        f"SELECT toString({group}) AS name, count() AS n, "
        "countIf(outcome IN ('failed', 'expired')) AS failed, "
        "countIf(outcome = 'blocked') AS blocked, sum(prompt_tokens) AS prompt, "
        "sum(completion_tokens) AS completion, sum(ifNull(cost_usd, 0)) AS usd, avg(duration_ms) / 1000 AS s "
        "FROM inference_events WHERE completed_at >= {a:DateTime64(6, 'UTC')} "
        f"AND completed_at < {{b:DateTime64(6, 'UTC')}}{where}{extra} GROUP BY name",
        {"a": query.since, "b": query.until},
    )
    return {str(row["name"]): row for row in rows}


def _same(told: dict[str, Any], row: dict[str, Any]) -> None:
    assert (told["total_requests"], told["failed_requests"]) == (row["n"], row["failed"])
    assert told["blocked_requests"] == row["blocked"]
    assert (told["prompt_tokens"], told["completion_tokens"]) == (row["prompt"], row["completion"])
    assert told["total_tokens"] == row["prompt"] + row["completion"]
    assert Decimal(told["total_cost_usd"]) == Decimal(row["usd"])
    assert told["error_rate"] == row["failed"] / row["n"]
    assert told["avg_latency"] == pytest.approx(row["s"])


@pytest.mark.parametrize("query", QUERIES, ids=range(len(QUERIES)))
async def test_usage_equals_the_sums_over_requests(generated: Store, query: UsageQuery) -> None:
    """In all and in each group, to the last digit, wherever the span begins and ends and
    whatever the zone's hours are.
    """
    told = await Usage(generated, lambda: END).read(query)
    total = (await _direct(generated, query, "'all'")).get("all")
    general = told["general_metrics"]
    if total is None:
        assert (general["total_requests"], general["total_cost_usd"], general["unique_users"]) == (0, "0", 0)
        assert (general["error_rate"], general["p95"], told["by_model"], told["by_hour"]) == (
            None,
            None,
            [],
            [],
        )
        return
    _same(general, total)
    models = await _direct(generated, query, "model")
    assert {one["model"] for one in told["by_model"]} == set(models)
    for one in told["by_model"]:
        _same(one, models[one["model"]])
    users = await _direct(generated, query, "user", " AND user != ''")
    assert general["unique_users"] == len(users)
    listed = sorted(users.values(), key=lambda row: (-row["n"], row["name"]))[:10]
    assert [one["user"] for one in told["by_user"]] == [row["name"] for row in listed]
    for one in told["by_user"]:
        _same(one, users[one["user"]])
    hours = await _direct(
        generated, query, f"toUnixTimestamp(toStartOfHour(completed_at, '{query.zone.key}'))"
    )
    assert len(told["by_hour"]) == len(hours)
    for one in told["by_hour"]:
        hour = datetime.fromisoformat(one["hour"])
        assert (hour.minute, hour.utcoffset()) == (0, hour.astimezone(query.zone).utcoffset())
        _same(one, hours[str(int(hour.timestamp()))])
    weekdays = await _direct(
        generated,
        query,
        f"(toDayOfWeek(completed_at, 0, '{query.zone.key}'), toHour(completed_at, '{query.zone.key}'))",
    )
    assert {
        f"({one['weekday']},{one['hour']})": one["total_requests"] for one in told["by_weekday_hour"]
    } == {name: row["n"] for name, row in weekdays.items()}


async def test_percentiles_are_those_of_the_requests_within_a_percent_of_rank(generated: Store) -> None:
    """Merged from digests of days, hours and minutes."""
    query = QUERIES[1]
    told = (await Usage(generated, lambda: END).read(query))["general_metrics"]
    for name, level, margin in (("p50", 0.5, 0.01), ("p95", 0.95, 0.005), ("p99", 0.99, 0.005)):
        (row,) = await generated.query(
            "SELECT countIf(duration_ms <= {ms:Float64}) / count() AS rank FROM inference_events WHERE "
            "tenant = 'tenant-00' AND completed_at >= {a:DateTime64(6, 'UTC')} "
            "AND completed_at < {b:DateTime64(6, 'UTC')}",
            {"ms": told[name] * 1000, "a": query.since, "b": query.until},
        )
        assert abs(row["rank"] - level) <= margin, name


async def test_users_are_as_many_as_were_asked_for(generated: Store) -> None:
    """None of them, though all are counted."""
    query = UsageQuery(WHOLE, END, UTC_ZONE, most_users=1)
    told = await Usage(generated, lambda: END).read(query)
    assert (len(told["by_user"]), told["general_metrics"]["unique_users"] > 20) == (1, True)
