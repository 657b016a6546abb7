"""Rounds of the forecast role over weeks in the real store, worked out by its child."""

import asyncio
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import pytest

from schemas.events.insight.kpi import KpiBreached, KpiStateRemembered
from services.analyzer.forecast.domain.outlook import outlook_of
from services.analyzer.forecast.history import StoredHistory
from services.analyzer.forecast.round import Rounds
from services.common.clock import monotonic_s, utc_now
from services.common.process.child.on_demand import OnDemandChild
from services.common.store import Store
from tests.support.analyzer.recording import fresh_database
from tests.support.analyzer.weeks import HOUR, Incident, Weeks, dear, failing, full_hour, slow, write_weeks
from tests.support.store import RunningStore

pytestmark = pytest.mark.timeout(300)
END = full_hour()
INCIDENTS = (
    Incident(200, 4, {"model": "small"}, change=slow),
    Incident(150, 5, {"tenant": "acme"}, factor=6.0, threats=0.5),
    Incident(100, 6, {"model": "small"}, change=dear),
    Incident(60, 4, {"model": "small"}, change=failing),
    Incident(5, 5, {}, factor=0.0),
)


@dataclass
class KeptState:
    """`StateLog` in memory; `fails` as if the analyzer were killed before it tells."""

    state: KpiStateRemembered | None = None
    told: list[KpiBreached] = field(default_factory=list)
    fails: bool = False

    async def open(self) -> KpiStateRemembered | None:
        return self.state

    async def read(self) -> KpiStateRemembered | None:
        return self.state

    async def write(self, told: Sequence[KpiBreached], state: KpiStateRemembered) -> None:
        if self.fails:
            raise RuntimeError("killed")
        self.told += told
        self.state = state

    async def close(self) -> None:
        """Nothing."""


class Answers:
    """The child's work in this process; a job that was done before is not done again."""

    is_alive = True
    known: ClassVar[dict[str, Any]] = {}

    async def ask(self, job: Any) -> Any:
        name = json.dumps(job)
        if name not in self.known:
            self.known[name] = outlook_of(json.loads(name))
        return self.known[name]

    async def close(self) -> None:
        """Nothing."""


async def _start() -> Answers:
    return Answers()


def _rounds(store: Store, log: KeptState, **changes: Any) -> Rounds:
    values: dict[str, Any] = {"zone": "UTC", "longest_s": 240.0}
    return Rounds(
        "forecast", store, StoredHistory(store, 1, 1), log, utc_now, monotonic_s, **(values | changes)
    )


def _in_process() -> OnDemandChild:
    return OnDemandChild(_start, 60.0, 240.0)


@pytest.fixture(scope="module")
def told(store: RunningStore) -> tuple[str, KeptState]:
    """A database that no test changes: they come in any order."""
    return _told(store)


def _told(store: RunningStore) -> tuple[str, KeptState]:
    """Six weeks with five incidents, and the round of the last full hour: the first try is
    killed before it tells.
    """
    url, log = fresh_database(store), KeptState(fails=True)

    async def fill() -> None:
        async with Store(url, timeout_s=60) as door:
            await write_weeks(door, Weeks(END, days=35, incidents=INCIDENTS))
            with pytest.raises(RuntimeError, match="killed"):
                await _rounds(door, log, child=_in_process()).do(END)
            log.fails = False
            assert await _rounds(door, log, child=_in_process()).do(END)
            assert not await _rounds(door, log).do(END)

    asyncio.run(fill())
    return url, log


async def _ask(url: str, sql: str) -> list[dict[str, Any]]:
    async with Store(url, timeout_s=20) as door:
        return await door.query(sql)


async def test_forecasts_of_the_platform_each_tenant_and_each_model_are_stored(
    told: tuple[str, KeptState],
) -> None:
    """Four figures, a day and a week ahead, from the hour under way on, with ordered bounds."""
    rows = await _ask(
        told[0],
        "SELECT tenant, model, figure, horizon_hours, count() AS n, min(hour) AS first, "
        "countIf(low95 <= low80 AND low80 <= median AND median <= high80 AND high80 <= high95) AS ordered, "
        "any(method) AS method FROM v_forecasts WHERE is_newest "
        "GROUP BY tenant, model, figure, horizon_hours",
    )
    subjects = {("", ""), ("acme", ""), ("", "small")}
    assert {(row["tenant"], row["model"]) for row in rows} == subjects
    assert len(rows) == len(subjects) * 4 * 2
    for row in rows:
        assert (row["n"], row["ordered"], row["first"]) == (row["horizon_hours"],) * 2 + (END,)
        assert row["method"] != "none"


async def test_every_incident_is_an_anomaly_with_what_made_it(told: tuple[str, KeptState]) -> None:
    """Of the platform each one, in its hours, with the model or tenant that it is due to."""
    rows = await _ask(
        told[0],
        "SELECT figure, kind, side, began_at, ended_at, lasts, drivers, observed, expected, score, low, high "
        "FROM v_anomalies WHERE tenant = '' AND model = '' ORDER BY began_at",
    )
    for figure, side, incident, due in (
        ("latency_s", "above", INCIDENTS[0], ("model", "small")),
        ("requests", "above", INCIDENTS[1], ("tenant", "acme")),
        ("threats", "above", INCIDENTS[1], ("tenant", "acme")),
        ("cost_usd", "above", INCIDENTS[2], ("model", "small")),
        ("errors", "above", INCIDENTS[3], ("model", "small")),
        ("requests", "below", INCIDENTS[4], None),
    ):
        begin, end = END - incident.ago * HOUR, END - (incident.ago - incident.hours) * HOUR
        (found, *_) = [
            row
            for row in rows
            if (row["figure"], row["side"]) == (figure, side)
            and row["began_at"] < end
            and row["ended_at"] > begin
        ]
        assert found["score"] >= 5, figure
        assert not found["low"] <= found["observed"] <= found["high"], figure
        assert found["lasts"] == (incident.ago == 5), figure
        if due is not None:
            assert due in {(one["dimension"], one["value"]) for one in map(_driver, found["drivers"])}, figure
    outage = rows[-1]
    assert (outage["kind"], outage["observed"]) == ("silence", 0)
    assert len(rows) <= 8


def _driver(one: Any) -> dict[str, Any]:
    return one if isinstance(one, dict) else dict(zip(("dimension", "value"), one, strict=False))


async def test_round_that_was_killed_before_it_told_leaves_no_double(told: tuple[str, KeptState]) -> None:
    """Each anomaly and each forecast once; the outage, which lasts, is told once for each
    subject, what is over is not.
    """
    url, log = told
    (row,) = await _ask(
        url,
        "SELECT "
        "(SELECT count() = uniqExact(tenant, model, figure, horizon_hours) FROM forecasts FINAL) "
        "AS forecasts, "
        "(SELECT count() = uniqExact(anomaly_id) FROM v_anomalies) AS anomalies, "
        "(SELECT count() = uniqExact(tenant, model, figure, side, began_at) FROM v_anomalies) AS episodes",
    )
    assert set(row.values()) == {1}
    assert {one.state.value for one in log.told} == {"breached"}
    subjects = sorted((one.tenant, one.model) for one in log.told)
    assert subjects == [("", ""), ("", "small"), ("acme", "")]
    assert {(one.metric, one.severity.value, one.direction) for one in log.told} == {
        ("anomaly_requests", "critical", "below")
    }
    assert "silence of requests of tenant acme" in next(
        one.summary for one in log.told if one.tenant == "acme"
    )


async def test_next_round_tells_the_end_of_what_was_told(store: RunningStore) -> None:
    """Traffic came back and has been as usual for five hours: each outage is over, under
    the id that it had, with the requests of the last hour.
    """
    url, log = await asyncio.to_thread(_told, store)
    begun = [one.breach_id for one in log.told]
    async with Store(url, timeout_s=60) as door:
        (before,) = await door.query("SELECT count() AS n FROM v_anomalies")
        await write_weeks(door, Weeks(END + 5 * HOUR, days=5 / 24, seed=2))
        assert await _rounds(door, log, child=_in_process()).do(END + 5 * HOUR)
        (after,) = await door.query("SELECT count() AS n, countIf(lasts) AS lasting FROM v_anomalies")
    assert [one.breach_id for one in log.told] == begun * 2
    assert [one.state.value for one in log.told] == ["breached"] * 3 + ["recovered"] * 3
    assert all(one.value > 0 and one.samples == 1 for one in log.told[3:])
    assert (after["n"] - before["n"], after["lasting"]) == (0, 0)


async def test_history_that_is_recorded_late_has_its_anomalies_told(store: RunningStore) -> None:
    """A round found nothing; then three weeks come, with errors five days ago."""
    url, log = fresh_database(store), KeptState()
    async with Store(url, timeout_s=60) as door:
        assert await _rounds(door, log, child=_in_process()).do(END - HOUR)
        errors = Incident(120, 6, {}, change=failing)
        await write_weeks(door, Weeks(END, days=21, incidents=(errors,)))
        assert await _rounds(door, log, child=_in_process()).do(END)
        rows = await door.query("SELECT figure, began_at FROM v_anomalies WHERE tenant = '' AND model = ''")
    begin = END - 120 * HOUR
    assert [one["figure"] for one in rows if begin <= one["began_at"] <= begin + HOUR] == ["errors"]
    assert log.told == []


async def test_new_installation_says_that_too_little_is_known(store: RunningStore) -> None:
    """No forecast is made up, of nothing and of a few hours."""
    url, log = fresh_database(store), KeptState()
    async with Store(url, timeout_s=30) as door:
        assert await _rounds(door, log).do(END)
        rows = await door.query("SELECT hour, median, method, notes FROM v_forecasts")
        assert len(rows) == 8
        assert {(row["hour"], row["median"], row["method"]) for row in rows} == {(None, None, "none")}
        assert (
            "0 known hours are too few for 24 ahead; 24 are needed"
            in rows[0]["notes"][0] + rows[1]["notes"][0]
        )
        await write_weeks(door, Weeks(END + HOUR, days=2))
        assert await _rounds(door, log).do(END + HOUR)
        rows = await door.query(
            "SELECT horizon_hours, count(hour) AS n, any(notes) AS notes FROM v_forecasts "
            "WHERE is_newest AND figure = 'requests' AND tenant = '' AND model = '' GROUP BY horizon_hours"
        )
        assert {row["horizon_hours"]: row["n"] for row in rows} == {24: 24, 168: 0}
    assert log.told == []


async def test_round_that_has_no_time_says_so(store: RunningStore) -> None:
    """Nothing is worked out, and the rows say why."""
    url = fresh_database(store)
    async with Store(url, timeout_s=30) as door:
        assert await _rounds(door, KeptState(), longest_s=0.0).do(END)
        (row, *_) = await door.query("SELECT notes FROM v_forecasts")
    assert "TOCSIN_FORECAST_ROUND_S" in row["notes"][0]
