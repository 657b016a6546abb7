"""Every change of an alert's state: alerts.raised."""

from enum import StrEnum

from pydantic import AwareDatetime, Field

from schemas.base import Finite, Message


class Severity(StrEnum):
    """How urgent."""

    INFO = "info"
    WARNING = "warning"
    CRITICAL = "critical"


class AlertState(StrEnum):
    """Where an alert is in its life."""

    PENDING = "pending"
    FIRING = "firing"
    ACKNOWLEDGED = "acknowledged"
    SILENCED = "silenced"
    RESOLVED = "resolved"


class AlertRaised(Message):
    """An alert as it stands after a change.

    `alert_id` names one episode, from pending to resolved; `fingerprint` is the same for
    all episodes of the same labels. `by` is who acknowledged, silenced or resolved it,
    empty where nobody did. `event_ids` are the events that caused it. Texts are masked.
    """

    alert_id: str
    fingerprint: str
    rule: str
    severity: Severity
    state: AlertState
    tenant: str = ""
    title: str
    summary: str = ""
    labels: dict[str, str] = Field(default_factory=dict)
    annotations: dict[str, str] = Field(default_factory=dict)
    value: Finite | None = None
    threshold: Finite | None = None
    started_at: AwareDatetime
    changed_at: AwareDatetime
    ended_at: AwareDatetime | None = None
    by: str = ""
    event_ids: tuple[str, ...] = ()
    runbook_url: str = ""
