"""kpi.breaches: figures that crossed their thresholds, and that came back."""

from schemas.events.insight.kpi import KpiBreached
from schemas.topics import BREACHES
from services.analyzer.recorder.rows import MEASURE, TIME, WORD, Column, Recording, log_columns

KPI_BREACHES: Recording[KpiBreached] = Recording(
    "kpi_breaches",
    BREACHES.model,
    (
        Column("detected_at", TIME, lambda event: event.message.detected_at),
        Column("window_start", TIME, lambda event: event.message.window_start),
        Column("window_end", TIME, lambda event: event.message.window_end),
        Column("breach_id", "String", lambda event: event.message.breach_id),
        Column("state", WORD, lambda event: event.message.state.value),
        Column("metric", WORD, lambda event: event.message.metric),
        Column("value", "Float64", lambda event: event.message.value),
        Column("threshold", "Float64", lambda event: event.message.threshold),
        Column("direction", WORD, lambda event: event.message.direction),
        Column("severity", WORD, lambda event: event.message.severity.value),
        Column("tenant", WORD, lambda event: event.message.tenant),
        Column("model", WORD, lambda event: event.message.model),
        Column("user", "String", lambda event: event.message.user),
        Column("samples", "UInt64", lambda event: event.message.samples),
        Column("baseline", MEASURE, lambda event: event.message.baseline),
        Column("examples", "Array(String)", lambda event: event.message.examples),
        Column("summary", "String", lambda event: event.message.summary),
        *log_columns(),
    ),
)
