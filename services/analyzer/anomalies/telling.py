"""Anomalies as breaches: what lasts and is no good news is told on kpi.breaches, and its
end, too.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from schemas.events.alerts import Severity
from schemas.events.insight.kpi import BreachState, KpiBreached, OpenBreach
from services.analyzer.anomalies.domain.tracking import Tracked

METRIC = "anomaly_{figure}"
_MOST_OPEN = 200
_EITHER_WAY = frozenset({"requests", "joint"})


def breaches_of(
    tracked: Sequence[Tracked], opened: Sequence[OpenBreach], *, now: datetime
) -> tuple[list[KpiBreached], tuple[OpenBreach, ...]]:
    """What is to be told, and which breaches are open then; at most 200, of the most
    unusual anomalies.
    """
    lasting = [one for one in tracked if one.lasts and _is_bad(one)]
    lasting.sort(key=lambda one: (-one.anomaly["score"], one.anomaly_id))
    lasting_by_id = {one.anomaly_id: one for one in lasting[:_MOST_OPEN]}
    kept = tuple(one for one in opened if one.breach_id in lasting_by_id)
    over = [one for one in opened if one.breach_id not in lasting_by_id]
    known = {one.breach_id for one in kept}
    begun = [_breach(one, now) for name, one in lasting_by_id.items() if name not in known]
    fresh = tuple(
        OpenBreach.model_validate(one.model_dump(include=set(OpenBreach.model_fields))) for one in begun
    )
    return [*(_recovery(one, now) for one in over), *begun], kept + fresh


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


def _recovery(one: OpenBreach, now: datetime) -> KpiBreached:
    values: dict[str, Any] = {name: getattr(one, name) for name in OpenBreach.model_fields}
    del values["clear_since"], values["ends_at"]
    return KpiBreached(**values, state=BreachState.RECOVERED, value=one.threshold, samples=0, detected_at=now)


def _short(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _time(hour: int) -> datetime:
    return datetime.fromtimestamp(hour * 3600, UTC)
