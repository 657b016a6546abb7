"""Anomalies as breaches: what lasts and is no good news is told on kpi.breaches, and its
end, too.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from schemas.events.alerts import Severity
from schemas.events.insight.kpi import BreachState, KpiBreached, OpenBreach
from services.analyzer.anomalies.domain.tracking import Tracked

METRIC = "anomaly_{figure}"
Judged = Mapping[tuple[str, str], Mapping[str, float]]
"""By tenant and model of the subjects that were worked out: figures of their last hour."""
_MOST_OPEN = 200
_UNJUDGED_FOR = timedelta(days=7)
_EITHER_WAY = frozenset({"requests", "joint"})


def breaches_of(
    tracked: Sequence[Tracked],
    opened: Sequence[OpenBreach],
    *,
    judged: Judged,
    as_of: datetime,
    now: datetime,
) -> tuple[list[KpiBreached], tuple[OpenBreach, ...]]:
    """What is to be told, and which breaches are open then. At most 200 are: new ones, of
    the most unusual anomalies first, have the room that open ones leave.

    The end of one is told with the figure of the hour before `as_of`. One of a subject that
    was not judged stays open, since nothing is known of its end, for a week at most.
    """
    lasting = [one for one in tracked if one.lasts and _is_bad(one)]
    lasting.sort(key=lambda one: (-one.anomaly["score"], one.anomaly_id))
    names = {one.anomaly_id for one in lasting}
    kept, told = [], []
    for one in opened:
        if one.breach_id in names:
            kept.append(one.model_copy(update={"ends_at": None}))
        elif (one.tenant, one.model) in judged:
            told.append(_recovery(one, judged[one.tenant, one.model], as_of, now))
        elif one.ends_at is not None and one.ends_at <= now:
            summary = f"not judged for {_UNJUDGED_FOR.days} days: nothing is known of its end"
            told.append(_recovery(one, {}, as_of, now, summary))
        else:
            kept.append(one.model_copy(update={"ends_at": one.ends_at or now + _UNJUDGED_FOR}))
    known = {one.breach_id for one in kept}
    new = [one for one in lasting if one.anomaly_id not in known]
    begun = [_breach(one, now) for one in new[: max(0, _MOST_OPEN - len(kept))]]
    fresh = [OpenBreach.model_validate(one.model_dump(include=set(OpenBreach.model_fields))) for one in begun]
    return told + begun, (*kept, *fresh)


def _is_bad(one: Tracked) -> bool:
    """Fewer errors and threats, lower latency and cost are no reason to call anybody."""
    return one.anomaly["figure"] in _EITHER_WAY or one.anomaly["side"] == "above"


def _breach(one: Tracked, now: datetime) -> KpiBreached:
    found = one.anomaly
    is_above = found["side"] == "above"
    is_silent = not is_above and found["observed"] == 0
    return KpiBreached(
        breach_id=one.anomaly_id,
        state=BreachState.BREACHED,
        metric=METRIC.format(figure=found["figure"]),
        value=found["observed"],
        threshold=found["high"] if is_above else found["low"],
        direction=found["side"],
        severity=Severity.CRITICAL if is_silent else Severity.WARNING,
        tenant=one.tenant,
        model=one.model,
        window_start=_time(found["first"]),
        window_end=_time(found["last"] + 1),
        samples=found["last"] + 1 - found["first"],
        baseline=found["expected"],
        summary=summary_of(one),
        detected_at=now,
    )


def summary_of(one: Tracked) -> str:
    """One sentence. Names are those of tenants and models, of which nobody is told by text
    of a request.
    """
    found = one.anomaly
    whose = f"tenant {one.tenant}" if one.tenant else f"model {one.model}" if one.model else "the platform"
    begin, end = _time(found["first"]), _time(found["last"] + 1)
    span = f"{begin:%Y-%m-%d %H:%M} to {end:%Y-%m-%d %H:%M} UTC"
    if found["method"] == "joint":
        names = " and ".join(driver[1] for driver in found["drivers"]) or "figures"
        return f"{names} of {whose} do not fit each other, {span}"
    due = ", ".join(f"{value} ({share:.0%})" for _, value, _, _, share in found["drivers"][:3])
    return (
        f"{found['kind']} of {found['figure']} of {whose}, {span}: {_short(found['observed'])} came in the "
        f"worst hour where {_short(found['expected'])} were expected" + (f"; due to {due}" if due else "")
    )


def _recovery(
    one: OpenBreach, figures: Mapping[str, float], as_of: datetime, now: datetime, summary: str = ""
) -> KpiBreached:
    """The end of a breach, with its figure's value of the last hour; without one, of which
    `samples` are 0, where there is none (as of figures that do not fit each other).
    """
    values: dict[str, Any] = {name: getattr(one, name) for name in OpenBreach.model_fields}
    del values["clear_since"], values["ends_at"]
    value = figures.get(one.metric.removeprefix(METRIC.format(figure="")))
    if value is not None:
        values |= {"window_start": as_of - timedelta(hours=1), "window_end": as_of}
    return KpiBreached(
        **values,
        state=BreachState.RECOVERED,
        value=0.0 if value is None else value,
        samples=0 if value is None else 1,
        summary=summary,
        detected_at=now,
    )


def _short(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _time(hour: int) -> datetime:
    return datetime.fromtimestamp(hour * 3600, UTC)
