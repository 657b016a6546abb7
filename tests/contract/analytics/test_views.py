"""Views and rollups over thousands of generated requests, held against plain SQL."""

from datetime import UTC, datetime
from decimal import Decimal

import pytest

from services.common.store import Store
from tests.support.analyzer.recording import fresh_database, rollups_disagree
from tests.support.analyzer.traffic import Traffic, generate
from tests.support.store import RunningStore


async def test_every_table_view_and_column_has_a_comment(generated: Store) -> None:
    """The data dictionary is made of them; writers' columns are those of their tables."""
    nameless = await generated.query(
        "SELECT name FROM system.tables WHERE database = currentDatabase() AND comment = '' "
        "AND name != 'schema_versions'"
    )
    columns = await generated.query(
        "SELECT table, name FROM system.columns WHERE database = currentDatabase() AND comment = '' "
        "AND table != 'schema_versions' AND NOT endsWith(table, '_writer')"
    )
    assert (nameless, columns) == ([], [])


async def test_generated_requests_are_whole_in_ledger_and_rollups(generated: Store) -> None:
    """Their producer's count has no gap, and each rollup says what the table says."""
    (ledger,) = await generated.query("SELECT rows, gaps, doubles FROM v_ledger WHERE source = 'generator'")
    assert ledger == {"rows": 20_000, "gaps": 0, "doubles": 0}
    assert await rollups_disagree(generated) == []


_FIGURES = (
    "sum(requests) AS requests, sum(failed_requests) AS failed, sum(blocked_requests) AS blocked, "
    "sum(unpriced_requests) AS unpriced, sum(prompt_tokens) AS prompt, sum(completion_tokens) AS answer, "
    "sum(cost_usd) AS usd"
)


@pytest.mark.parametrize("view", ["v_usage_minutely", "v_usage_hourly", "v_usage_daily"])
async def test_usage_equals_the_sums_over_requests(generated: Store, view: str) -> None:
    """To the last digit, for each tenant and model."""
    told = await generated.query(
        f"SELECT tenant, model, {_FIGURES} FROM {view} GROUP BY tenant, model ORDER BY tenant, model"
    )
    summed = await generated.query(
        "SELECT tenant, model, count() AS requests, countIf(outcome IN ('failed', 'expired')) AS failed, "
        "countIf(outcome = 'blocked') AS blocked, countIf(cost_usd IS NULL) AS unpriced, "
        "sum(toUInt64(prompt_tokens)) AS prompt, sum(toUInt64(completion_tokens)) AS answer, "
        "sum(ifNull(cost_usd, toDecimal64(0, 12))) AS usd FROM inference_events "
        "GROUP BY tenant, model ORDER BY tenant, model"
    )
    assert told == summed
    assert len(told) == 18
    assert sum(Decimal(one["usd"]) for one in told) > 0


async def test_percentiles_of_a_day_are_near_the_exact_ones(generated: Store) -> None:
    """By rank: of 2,000 and more requests a percentile of digests is no further than a
    hundredth from where it says it is; small groups of fewer are exact enough to be told.
    """
    wrong = await generated.query(
        """
        SELECT day, tenant, model, count() AS n, countIf(duration_ms <= duration_p50_ms) / n AS at50,
               countIf(duration_ms <= duration_p95_ms) / n AS at95
        FROM (SELECT toDate(completed_at) AS day, tenant, model, duration_ms FROM inference_events) AS each
        INNER JOIN v_usage_daily AS told USING (day, tenant, model)
        GROUP BY day, tenant, model
        HAVING n > 500 AND (abs(at50 - 0.5) > 0.01 OR abs(at95 - 0.95) > 0.005)
        """
    )
    assert wrong == []


async def test_users_are_read_from_the_projection_and_equal_the_rows(generated: Store) -> None:
    """What each user did is exact, and asks for no scan of the requests."""
    told = await generated.query(
        "SELECT tenant, user, sum(requests) AS n, sum(cost_usd) AS usd FROM v_users "
        "GROUP BY tenant, user ORDER BY tenant, user"
    )
    summed = await generated.query(
        "SELECT tenant, nullIf(user, '') AS user, count() AS n, "
        "sum(ifNull(cost_usd, toDecimal64(0, 12))) AS usd FROM inference_events "
        "GROUP BY tenant, user ORDER BY tenant, user SETTINGS optimize_use_projections = 0"
    )
    assert told == summed
    plan = await generated.query(
        "EXPLAIN SELECT user, sum(requests) FROM v_users WHERE day >= '2026-11-18' AND tenant = 'tenant-00' "
        "GROUP BY user"
    )
    assert any("by_user" in str(one) for one in plan)


async def test_users_after_an_erasure_are_deleted_in_the_projection_too(store: RunningStore) -> None:
    """The statement that an erasure runs, then what old rows leave behind them."""
    door = Store(fresh_database(store))
    await generate(door, Traffic(2_000, 2, datetime(2026, 11, 20, tzinfo=UTC), tenants=2, users=5))
    await generate(door, Traffic(1_000, 2, datetime(2020, 1, 1, tzinfo=UTC), tenants=2, users=5, seed=2))
    (someone,) = await door.query(
        "SELECT user, count() AS n FROM inference_events WHERE tenant = 'tenant-00' AND user != '' "
        "AND completed_at > '2026-01-01' GROUP BY user ORDER BY n DESC LIMIT 1"
    )
    await door.command(
        "ALTER TABLE inference_events UPDATE user = 'DELETED' WHERE tenant = 'tenant-00' "
        "AND user = {user:String} SETTINGS mutations_sync = 2",
        {"user": someone["user"]},
    )
    await door.command("OPTIMIZE TABLE inference_events FINAL")  # the rows of 2019 are over their TTL
    found = await door.query(
        "SELECT user, sum(requests) AS n FROM v_users WHERE tenant = 'tenant-00' GROUP BY user"
    )
    by_user = {one["user"]: one["n"] for one in found}
    assert someone["user"] not in by_user
    assert by_user["DELETED"] == someone["n"]
    (rows,) = await door.query("SELECT count() AS n FROM inference_events WHERE tenant = 'tenant-00'")
    assert sum(by_user.values()) == rows["n"] < 2_000
    await door.close()


async def test_rollup_of_days_takes_a_late_event_into_its_own_day(store: RunningStore) -> None:
    """An event that comes days later counts where it happened."""
    door = Store(fresh_database(store))
    for seed, day in ((1, 20), (2, 15), (3, 20)):
        await generate(door, Traffic(100, 1, datetime(2026, 11, day, tzinfo=UTC), tenants=1, seed=seed))
    found = await door.query("SELECT day, sum(requests) AS n FROM v_usage_daily GROUP BY day ORDER BY day")
    await door.close()
    assert [(one["day"].day, one["n"]) for one in found] == [(14, 100), (19, 200)]
