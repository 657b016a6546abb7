"""A figure crossed its threshold, or came back: kpi.breaches."""

from enum import StrEnum

from pydantic import AwareDatetime

from schemas.base import Finite, Message
from schemas.events.alerts import Severity


class BreachState(StrEnum):
    """Whether a figure is beyond its threshold."""

    BREACHED = "breached"
    RECOVERED = "recovered"


class KpiBreached(Message):
    """A figure over a window of event time, against its threshold.

    `breach_id` is the same for a breach and its recovery. `metric` carries its unit
    (latency_p95_s, error_rate, satisfaction). `direction` is above or below: on which
    side of the threshold a value is bad. Empty `tenant`, `model` and `user` mean all.
    `examples` are request ids.
    """

    breach_id: str
    state: BreachState
    metric: str
    value: Finite
    threshold: Finite
    direction: str
    severity: Severity
    tenant: str = ""
    model: str = ""
    user: str = ""
    window_start: AwareDatetime
    window_end: AwareDatetime
    samples: int
    baseline: Finite | None = None
    examples: tuple[str, ...] = ()
    summary: str = ""
    detected_at: AwareDatetime
