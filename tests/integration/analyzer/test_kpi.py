"""The KPI role as a process, on a real Kafka and the embedded store."""

from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from schemas.control import Subject
from schemas.events.budgets import BudgetWarned
from schemas.events.insight.kpi import BreachState, KpiBreached, KpiStateRemembered
from schemas.inference import InferenceCompleted, Outcome
from schemas.topics import BREACHES, BUDGETS_WARNED, COMPLETED, KPI_STATE
from services.common.bus import Outgoing, Producer
from services.common.bus.administration.admin import provision
from services.common.bus.consumers.events import send_all
from services.common.store import Store
from tests.support.analyzer.recording import (
    EventSource,
    RecorderProcess,
    Unreadable,
    completed,
    eventually,
    fresh_database,
    recorded,
)
from tests.support.kafka import OwnBroker, read_committed
from tests.support.store import RunningStore

pytestmark = pytest.mark.timeout(300)
S = timedelta(seconds=1)
_SPAN_MINUTES = 30
"""What is told lies more than five minutes back: there every minute is judged, whenever."""


@pytest.fixture
async def producer(own_broker: OwnBroker) -> AsyncIterator[Producer]:
    """Topics, and who publishes."""
    await provision(own_broker.bootstrap, [], 0.25)
    made = Producer(own_broker.bootstrap, "dispatcher", timeout_s=60)
    await made.start()
    yield made
    await made.close()


def _analyzer(broker: OwnBroker, url: str, folder: Path, name: str, **environment: str) -> RecorderProcess:
    return RecorderProcess(
        broker.bootstrap,
        url,
        folder / f"{name}.log",
        **{
            "TOCSIN_INSTANCE": name,
            "TOCSIN_KPI_GROUP": name,
            "TOCSIN_ANALYZER_ROLES": "kpi",
            "TOCSIN_CONSUMER_SESSION_TIMEOUT_S": "3",
            **environment,
        },
    )


async def _told(url: str, group: str) -> list[KpiBreached]:
    """What one group told, in its order."""
    return [
        BREACHES.model.validate_json(one.value)
        for one in await read_committed(url, BREACHES.name)
        if dict(one.headers)["ce_source"].decode().startswith(f"{group}/")
    ]


async def _judged_to(url: str, group: str) -> datetime | None:
    found = [KPI_STATE.model.validate_json(one.value) for one in await read_committed(url, KPI_STATE.name)]
    mine = [one.evaluated_to for one in found if one.group == group]
    return mine[-1] if mine else None


def _end(number: int, at: datetime, **changes: Any) -> InferenceCompleted:
    return completed(
        number,
        completed_at=at,
        requested_at=at - S,
        tenant="acme",
        **({"outcome": Outcome.COMPLETED} | changes),
    )


def _incidents(begin: datetime) -> list[InferenceCompleted]:
    """Two a second, over half an hour: one model fails for three minutes from the fifth on,
    another is slow for three from the sixteenth on.
    """
    found = []
    for number in range(_SPAN_MINUTES * 120):
        minute, model = number / 120, f"model-{number % 3}"
        changes: dict[str, Any] = {"model": model}
        if model == "model-0" and 5 <= minute < 8 and number % 2:
            changes |= {"outcome": Outcome.FAILED, "error_code": "replica_lost"}
        if model == "model-1" and 16 <= minute < 19:
            changes |= {"duration_ms": 9000.0}
        found.append(_end(number, begin + number * S / 2, **changes))
    return found


async def _publish(producer: Producer, ends: Sequence[InferenceCompleted]) -> None:
    for first in range(0, len(ends), 500):
        await send_all(
            producer,
            [
                Outgoing(COMPLETED.name, one, subject=one.request_id, tenant=one.tenant)
                for one in ends[first : first + 500]
            ],
            60,
        )


async def _begin_at(producer: Producer, group: str, at: datetime) -> None:
    """As if the role had judged up to then, and was killed."""
    state = KpiStateRemembered(group=group, evaluated_to=at)
    await producer.send(Outgoing(KPI_STATE.name, state, subject=group, tenant="", key=group, partition=0))


async def test_killed_role_tells_what_sql_says_and_nothing_twice(
    own_broker: OwnBroker, store: RunningStore, producer: Producer, tmp_path: Path
) -> None:
    """Kill -9 again and again while it makes up for half an hour: the breaches are those of
    a role that nobody disturbed, each once, with the figures of their windows by SQL.
    """
    url = fresh_database(store)
    begin = datetime.now(UTC).replace(microsecond=0) - timedelta(minutes=_SPAN_MINUTES)
    ends = _incidents(begin)
    await _publish(producer, ends)
    for group in ("killed", "calm"):
        await _begin_at(producer, group, begin + timedelta(minutes=1))
    recorder = _analyzer(own_broker, url, tmp_path, "recording", TOCSIN_ANALYZER_ROLES="recorder")
    killed = _analyzer(own_broker, url, tmp_path, "killed")
    calm = _analyzer(own_broker, url, tmp_path, "calm")
    for process in (recorder, killed, calm):
        process.start()
    try:
        async with Store(url, timeout_s=20) as door:
            for part in (0, 3):  # of eight that are told
                await eventually(lambda n=part: _some(own_broker, "killed", n + 1), within_s=90, what="more")
                killed.kill()
                killed.start()
            until = begin + timedelta(minutes=_SPAN_MINUTES - 1)
            await eventually(lambda: _has_judged(own_broker, "killed", until), within_s=60, what="all judged")
            await eventually(lambda: _has_judged(own_broker, "calm", until), within_s=60, what="all, calmly")
            assert await recorded(door) == len(ends)
            told, expected = [await _told(own_broker.bootstrap, one) for one in ("killed", "calm")]
            assert [_shape(one) for one in told] == [_shape(one) for one in expected]
            assert sorted((one.metric, one.model or one.tenant, one.state.value) for one in told) == sorted(
                (metric, whose, state) for metric, whose in _EXPECTED for state in ("breached", "recovered")
            )
            for one in told:
                await _equals_sql(door, one)
            await eventually(lambda: _are_rows(door, told), within_s=30, what="they are recorded")
            (row,) = await door.query(
                "SELECT sum(gaps) AS gaps, sum(doubles) AS doubles FROM v_ledger "
                "WHERE topic = 'kpi.breaches.v1'"
            )
            assert (row["gaps"], row["doubles"]) == (0, 0)
    except AssertionError as error:
        raise AssertionError(f"{error}; {killed.output[-3000:]}") from error
    finally:
        for process in (recorder, killed, calm):
            process.kill()


_EXPECTED = (
    ("error_rate", "model-0"),
    ("error_rate", "acme"),
    ("latency_p95_s", "model-1"),
    ("latency_p95_s", "acme"),
)


async def _some(broker: OwnBroker, group: str, count: int) -> bool:
    return len(await _told(broker.bootstrap, group)) >= count


async def _has_judged(broker: OwnBroker, group: str, until: datetime) -> bool:
    judged_to = await _judged_to(broker.bootstrap, group)
    return judged_to is not None and judged_to >= until


def _shape(one: KpiBreached) -> tuple[Any, ...]:
    """All but when it was noticed."""
    return tuple(one.model_copy(update={"detected_at": one.window_end}).model_dump().items())


async def _equals_sql(door: Store, one: KpiBreached) -> None:
    """A breach's figure is its window's, counted from the rows."""
    (row,) = await door.query(
        "SELECT countIf(outcome IN ('failed', 'expired')) AS errors, count() AS requests, "
        "arraySort(groupArrayIf(duration_ms, outcome = 'completed')) AS durations FROM inference_events "
        "WHERE completed_at >= {from:DateTime64(3, 'UTC')} AND completed_at < {to:DateTime64(3, 'UTC')} "
        "AND (model = {model:String} OR {model:String} = '')",
        {"from": one.window_start, "to": one.window_end, "model": one.model},
    )
    if one.metric == "error_rate":
        assert (one.value, one.samples) == (row["errors"] / row["requests"], row["requests"])
    else:
        durations = row["durations"]
        exact = durations[int(0.95 * (len(durations) - 1))] / 1000
        assert one.samples == len(durations)
        assert one.value == pytest.approx(exact, rel=0.011)


async def _are_rows(door: Store, told: Sequence[KpiBreached]) -> bool:
    rows = await door.query("SELECT breach_id, metric, recovered_at, length(examples) AS n FROM v_breaches")
    known = {row["breach_id"]: row for row in rows if row["recovered_at"] is not None and row["n"]}
    return {one.breach_id for one in told} <= known.keys()


async def test_late_requests_breach_in_their_window_and_another_analyzer_takes_over(
    own_broker: OwnBroker, store: RunningStore, producer: Producer, tmp_path: Path
) -> None:
    """What ended three minutes ago counts where it ended; of two analyzers one judges, and
    when it is killed the other does, without telling anything again.
    """
    url, bootstrap = fresh_database(store), own_broker.bootstrap
    roles = {"TOCSIN_ANALYZER_ROLES": "recorder,kpi", "TOCSIN_KPI_GROUP": "shared"}
    both = [_analyzer(own_broker, url, tmp_path, name, **roles) for name in ("first", "second")]
    source = EventSource(bootstrap)  # in transactions: their markers must not hold the watermark up
    await source.start()
    for one in both:
        one.start()
    try:
        await eventually(lambda: _has_judged(own_broker, "shared", _AGES_AGO), within_s=60, what="it judges")
        now = datetime.now(UTC)
        failed = {"outcome": Outcome.FAILED, "error_code": "replica_lost", "model": "late"}
        await _publish(producer, [_end(number, now - timedelta(minutes=3), **failed) for number in range(40)])
        await source.send(10)
        await eventually(lambda: _some(own_broker, "shared", 2), within_s=60, what="model and tenant")
        holder = next(one for one in both if "windows_known" in one.output)
        holder.kill()
        for value in (None, Unreadable()):  # an erased budget's, and one that nobody can read
            await producer.send(
                Outgoing(BUDGETS_WARNED.name, value, subject="b0", tenant="acme", partition=0)
            )
        await producer.send(_warning(now))
        await eventually(lambda: _some(own_broker, "shared", 3), within_s=60, what="the budget")
        failed["model"] = "later"
        await _publish(producer, [_end(100 + number, datetime.now(UTC), **failed) for number in range(40)])
        await eventually(lambda: _some(own_broker, "shared", 4), within_s=90, what="the other goes on")
        told = await _told(bootstrap, "shared")
    except AssertionError as error:
        raise AssertionError(f"{error}; {[one.output[-2000:] for one in both]}") from error
    finally:
        await source.close()
        for one in both:
            one.kill()
    assert sorted((one.metric, one.model, one.tenant) for one in told) == [
        ("budget_share", "", "acme"),
        ("error_rate", "", "acme"),
        ("error_rate", "late", ""),
        ("error_rate", "later", ""),
    ]
    assert {one.state for one in told} == {BreachState.BREACHED}
    late = next(one for one in told if one.model == "late")
    assert (late.samples, late.value, len(late.examples)) == (40, 1.0, 5)
    assert late.window_start < now - timedelta(minutes=3) < late.window_end


_AGES_AGO = datetime(2020, 1, 1, tzinfo=UTC)


def _warning(now: datetime) -> Outgoing:
    midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
    warned = BudgetWarned(
        budget_id="b1",
        tenant="acme",
        subject=Subject(kind="tenant", id="acme"),
        period="month",
        time_zone="UTC",
        period_start=midnight,
        renews_at=midnight + timedelta(days=2),
        share=Decimal("0.8"),
        limit_usd=Decimal(10),
        spent_usd=Decimal(8),
        hard=False,
        warned_at=now,
    )
    return Outgoing(BUDGETS_WARNED.name, warned, subject="b1", tenant="acme", partition=0)
