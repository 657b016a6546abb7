"""Figures of windows and scores of models, held against plain SQL and arithmetic."""

import asyncio
import re
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from schemas.events.insight.kpi import OpenBreach
from services.analyzer.kpi.domain.grid import WINDOW
from services.analyzer.kpi.readings import StoredReadings
from services.common.store import Store
from services.common.store.saved_queries import saved_queries
from tests.support.analyzer.recording import fresh_database
from tests.support.analyzer.traffic import Traffic, generate
from tests.support.store import RunningStore

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
TRAFFIC = Traffic(requests=40_000, days=2, end=NOW, tenants=3, users=40)
SAVED = saved_queries()
_PAGE = Path(__file__).resolve().parents[3] / "docs" / "concepts" / "analytics" / "kpi.md"


@pytest.fixture(scope="module")
def generated_url(store: RunningStore) -> str:
    """Two days of three tenants' requests."""
    url = fresh_database(store)

    async def fill() -> None:
        async with Store(url) as door:
            await generate(door, TRAFFIC)

    asyncio.run(fill())
    return url


@pytest.fixture
async def generated(generated_url: str) -> AsyncIterator[Store]:
    """The same, to be asked."""
    async with Store(generated_url) as door:
        yield door


@pytest.fixture
async def empty(store: RunningStore) -> AsyncIterator[Store]:
    """A database of a test's own."""
    async with Store(fresh_database(store)) as door:
        yield door


async def _window(store: Store, begin: datetime, end: datetime, by: str, limit: int = 50) -> list[Any]:
    saved = SAVED["operations/window"]
    values = saved.values({"by": by, "limit": str(limit)}, NOW)
    return await store.query(saved.limited, values | {"from": begin, "to": end})


_SUMS = ("requests", "answered", "errors", "ratings", "usd")


@pytest.mark.parametrize("by", ["model", "tenant", "user"])
async def test_groups_and_the_others_are_the_whole(generated: Store, by: str) -> None:
    """However few are shown: nothing is dropped, and the others are counted."""
    begin = NOW - timedelta(days=1)
    (whole,) = await _window(generated, begin, NOW, "all")
    every = await _window(generated, begin, NOW, by, 10_000)
    for limit in (1, 2, 7):
        some = await _window(generated, begin, NOW, by, limit)
        assert len(some) == min(limit, len(every)) + (len(every) > limit)
        assert {name: sum(one[name] for one in some) for name in _SUMS} == {
            name: whole[name] for name in _SUMS
        }
        assert sum(one["names"] for one in some) == len(every)


async def test_percentiles_are_within_one_percent_of_the_exact_ones(generated: Store) -> None:
    """As DDSketch promises: of the value at that rank, or one beside it."""
    begin = NOW - timedelta(days=1)
    rows = await generated.query(
        "SELECT model, arraySort(groupArray(duration_ms)) AS all FROM inference_events "
        "WHERE completed_at >= {from:DateTime64(3, 'UTC')} AND completed_at < {to:DateTime64(3, 'UTC')} "
        "AND outcome IN ('completed', 'cache_hit') GROUP BY model",
        {"from": begin, "to": NOW},
    )
    exact = {row["model"]: row["all"] for row in rows}
    told = await _window(generated, begin, NOW, "model")
    assert len(told) == len(exact) > 1
    for one in told:
        values = exact[one["name"]]
        for share, name in ((0.5, "latency_p50_ms"), (0.95, "latency_p95_ms"), (0.99, "latency_p99_ms")):
            rank = int(share * (len(values) - 1))
            assert values[rank - 1] * 0.989 <= one[name] <= values[rank + 1] * 1.011


async def test_sketches_of_minutes_merged_are_those_of_the_whole(generated: Store) -> None:
    """To the last digit, in whatever order they are merged."""
    (row,) = await generated.query(
        "SELECT quantilesDD(0.01, 0.5, 0.95, 0.99)(duration_ms) AS whole, "
        "(SELECT quantilesDDMerge(0.01, 0.5, 0.95, 0.99)(one) FROM (SELECT "
        "quantilesDDState(0.01, 0.5, 0.95, 0.99)(duration_ms) AS one FROM inference_events "
        "GROUP BY toStartOfMinute(completed_at), tenant ORDER BY rand())) AS merged FROM inference_events"
    )
    assert row["whole"] == row["merged"]


async def test_readings_are_what_plain_sql_says(generated: Store) -> None:
    """Error rates and latencies of five minutes, by model and by tenant."""
    readings = await StoredReadings(generated).recent(NOW - timedelta(hours=24))
    for column in ("model", "tenant"):
        rows = await generated.query(
            f"SELECT {column} AS name, countIf(outcome IN ('failed', 'expired')) AS errors, count() AS n "
            "FROM inference_events WHERE completed_at >= {from:DateTime64(3, 'UTC')} "
            "AND completed_at < {to:DateTime64(3, 'UTC')} GROUP BY name",
            {"from": NOW - timedelta(hours=24) - WINDOW, "to": NOW - timedelta(hours=24)},
        )
        told = {
            getattr(one, column): (one.bad, one.samples)
            for one in readings
            if one.metric == "error_rate" and getattr(one, column)
        }
        assert told == {str(row["name"]): (row["errors"], row["n"]) for row in rows}
        assert sum(samples for _, samples in told.values()) > 20


_FINDING = (
    "INSERT INTO security_findings (found_at, recorded_at, tenant, request_id, finding_id, level, place, "
    "category, score) SELECT {at:DateTime64(3, 'UTC')} + number, {recorded:DateTime64(3, 'UTC')} + number, "
    "'acme', concat({prefix:String}, toString(number % {requests:UInt32})), toString(rand64()), "
    "{level:String}, 'prompt', 'jailbreak', 15 FROM numbers({count:UInt32})"
)


async def _found(store: Store, at: datetime, recorded: datetime, **changes: object) -> None:
    values = {"at": at, "recorded": recorded, "prefix": "r", "requests": 99, "level": "high", "count": 6}
    await store.command(_FINDING, values | changes)


async def test_threats_are_requests_with_a_finding_of_medium_or_more(empty: Store) -> None:
    """Two findings of one request are one threat; low ones are none."""
    await _found(empty, NOW - timedelta(seconds=60), NOW, requests=4)
    await _found(empty, NOW - timedelta(seconds=60), NOW, prefix="l", level="low")
    await _found(empty, NOW - timedelta(seconds=400), NOW, prefix="old", count=3)
    (threats,) = await StoredReadings(empty).recent(NOW)
    assert (threats.value, threats.tenant, threats.window_end) == (4, "acme", None)


async def test_threats_that_come_late_are_counted_in_their_own_window(empty: Store) -> None:
    """The security role was behind by twenty minutes; each is looked at in one minute."""
    then = NOW - timedelta(minutes=20)
    await _found(empty, then, NOW - timedelta(seconds=50))
    readings = StoredReadings(empty)
    found = await readings.slow(NOW)
    worst = found[-1]
    assert (worst.value, worst.tenant) == (6, "acme")
    assert worst.window_end is not None
    assert timedelta(0) < worst.window_end - (then + timedelta(seconds=5)) < timedelta(seconds=1)
    assert await readings.slow(NOW + timedelta(minutes=1)) == []
    assert await readings.recent(NOW) == []


async def test_late_requests_are_counted_once(generated: Store, empty: Store) -> None:
    """Recorded eleven seconds after they ended, or an hour: not nine."""
    await empty.command(
        "INSERT INTO inference_events (completed_at, recorded_at, request_id) VALUES "
        "('2026-11-20 11:59:00', '2026-11-20 11:59:11', 'a'), ('2026-11-20 11:59:00', '2026-11-20 11:59:09', "
        "'b'), ('2026-11-20 11:10:00', '2026-11-20 11:59:30', 'c')"
    )
    readings = StoredReadings(empty)
    assert [await readings.late_requests(NOW + timedelta(minutes=one)) for one in (-1, 0, 1)] == [0, 2, 0]


async def test_examples_are_those_that_show_it(empty: Store) -> None:
    """The slowest, the newest errors, of that model and window alone; five at most."""
    await empty.command(
        "INSERT INTO inference_events (completed_at, model, tenant, request_id, outcome, duration_ms) SELECT "
        "toDateTime64('2026-11-20 11:58:00', 3, 'UTC') + number, if(number < 10, 'm', 'n'), 'acme', "
        "concat('r', toString(number)), if(number % 2, 'failed', 'completed'), number FROM numbers(20)"
    )
    shown = [
        await StoredReadings(empty).examples(
            OpenBreach(
                breach_id="b",
                metric=metric,
                model="m",
                severity="warning",
                threshold=1,
                direction="above",
                window_start=NOW - WINDOW,
                window_end=NOW,
            )
        )
        for metric in ("error_rate", "latency_p95_s", "budget_share")
    ]
    assert shown == [("r9", "r7", "r5", "r3", "r1"), ("r8", "r6", "r4", "r2", "r0"), ()]


_HOURS = (
    "INSERT INTO inference_events (completed_at, model, tenant, request_id, outcome, duration_ms, "
    "prompt_tokens, completion_tokens, cost_usd, risk_level) "
    "SELECT toDateTime64({at:String}, 3, 'UTC') + number, 'm', 't', toString(rand64()), "
    "if(number < {failed:UInt32}, 'failed', 'completed'), {ms:Float64}, 60, 40, "
    "toDecimal64({usd:Float64}, 12), if(number < {risky:UInt32}, 'high', 'none') FROM numbers({count:UInt32})"
)


async def _hour(store: Store, at: datetime, **values: object) -> None:
    usual = {"failed": 0, "ms": 1000.0, "usd": 0.0001, "risky": 0, "count": 50}
    await store.command(_HOURS, {"at": at.strftime("%Y-%m-%d %H:%M:%S"), **usual, **values})


async def _score(store: Store, at: datetime = NOW) -> dict[str, Any]:
    saved = SAVED["quality/model_scores"]
    (row,) = await store.query(saved.limited, saved.values({}, at))
    return row


def _worked_example() -> dict[str, float]:
    """The table of docs/concepts/analytics/kpi.md: a part's points."""
    rows = re.findall(r"^\| (\w[\w ]*) \|.*\| ([\d.]+) \|$", _PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    return {name: float(points) for name, points in rows}


async def test_score_of_the_worked_example_is_what_the_docs_say(empty: Store) -> None:
    """Each part and the score."""
    for hour in range(2, 26):
        await _hour(empty, NOW - timedelta(hours=hour))
    await _hour(empty, NOW - timedelta(minutes=50), ms=1500.0, failed=10, risky=5, usd=0.0001, count=250)
    await empty.command(
        "INSERT INTO feedback (submitted_at, tenant, model, request_id, rating) SELECT "
        "toDateTime64('2026-11-20 10:00:00', 3, 'UTC') + number, 't', 'm', toString(number), "
        "if(number < 24, 1, -1) FROM numbers(30)"
    )
    told, docs = await _score(empty), _worked_example()
    parts = ("latency", "errors", "satisfaction", "security", "cost")
    assert {one: told[f"{one}_part"] for one in parts} == pytest.approx(
        {one: docs[one] for one in parts}, abs=1.0
    )
    assert told["score"] == pytest.approx(docs["score"], abs=0.5)


async def test_score_without_a_baseline_or_ratings_rests_on_the_rest(empty: Store) -> None:
    """What is not known has no part and no weight; of a handful there is no score."""
    await _hour(empty, NOW - timedelta(minutes=50), failed=5, ms=9000.0)
    told = await _score(empty)
    assert [told[f"{one}_part"] for one in ("latency", "satisfaction", "cost")] == [None] * 3
    assert told["score"] == pytest.approx((0.3 * 50 + 0.1 * 100) / 0.4, abs=0.1)
    assert (await _score(empty, NOW + timedelta(minutes=10, seconds=35)))["score"] is None


async def test_one_bad_hour_does_not_become_the_baseline(empty: Store) -> None:
    """The median of hours is robust, and the bounds of each part are 0 and 100."""
    for hour in range(2, 16):
        await _hour(empty, NOW - timedelta(hours=hour), ms=90_000.0 if hour < 5 else 1000.0)
    await _hour(empty, NOW - timedelta(minutes=50), ms=500_000.0, usd=0.01, failed=50, risky=50)
    told = await _score(empty)
    assert told["usual_latency_p95_ms"] == pytest.approx(1000, rel=0.02)
    assert [told[f"{one}_part"] for one in ("errors", "security", "cost")] == [0, 0, 0]


async def test_prices_of_the_whole_are_exact(generated: Store) -> None:
    """Money is not summed as a float."""
    (whole,) = await _window(generated, NOW - timedelta(days=2), NOW + timedelta(seconds=1), "all")
    (row,) = await generated.query("SELECT sum(cost_usd) AS usd FROM inference_events")
    assert isinstance(whole["usd"], Decimal)
    assert whole["usd"] == row["usd"]
