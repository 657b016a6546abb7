"""alerts.raised: every change of an alert's state."""

from schemas.events.alerts import AlertRaised
from schemas.topics import ALERTS
from services.analyzer.recorder.rows import MEASURE, TIME, WORD, Column, Recording, log_columns

ALERTS_RAISED: Recording[AlertRaised] = Recording(
    "alert_changes",
    ALERTS.model,
    (
        Column("changed_at", TIME, lambda event: event.message.changed_at),
        Column("started_at", TIME, lambda event: event.message.started_at),
        Column("ended_at", f"Nullable({TIME})", lambda event: event.message.ended_at),
        Column("tenant", WORD, lambda event: event.message.tenant),
        Column("rule", WORD, lambda event: event.message.rule),
        Column("severity", WORD, lambda event: event.message.severity.value),
        Column("state", WORD, lambda event: event.message.state.value),
        Column("alert_id", "String", lambda event: event.message.alert_id),
        Column("fingerprint", "String", lambda event: event.message.fingerprint),
        Column("title", "String", lambda event: event.message.title),
        Column("summary", "String", lambda event: event.message.summary),
        Column("labels", "Map(String, String)", lambda event: event.message.labels),
        Column("annotations", "Map(String, String)", lambda event: event.message.annotations),
        Column("value", MEASURE, lambda event: event.message.value),
        Column("threshold", MEASURE, lambda event: event.message.threshold),
        Column("changed_by", "String", lambda event: event.message.by),
        Column("event_ids", "Array(String)", lambda event: event.message.event_ids),
        Column("runbook_url", "String", lambda event: event.message.runbook_url),
        *log_columns(),
    ),
)
