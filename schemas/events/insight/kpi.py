"""A figure crossed its threshold, or came back: kpi.breaches; and what the KPI role
remembers of it: kpi.state.
"""

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


class OpenBreach(Message):
    """A breach that was told and has not ended.

    `clear_since` is the end of the first of the windows in which the figure was well on
    the good side; None where it is not. `ends_at` is when one ends by itself.
    """

    breach_id: str
    metric: str
    tenant: str = ""
    model: str = ""
    severity: Severity
    threshold: Finite
    direction: str
    window_start: AwareDatetime
    window_end: AwareDatetime
    clear_since: AwareDatetime | None = None
    ends_at: AwareDatetime | None = None


class KpiStateRemembered(Message):
    """What was told: every window that ends by `evaluated_to` was judged, and these
    breaches are open.
    """

    group: str
    evaluated_to: AwareDatetime
    open: tuple[OpenBreach, ...] = ()
