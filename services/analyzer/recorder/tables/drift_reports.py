"""drift.reports: comparisons of traffic with its baseline."""

from schemas.events.drift import DriftReported
from schemas.topics import DRIFT
from services.analyzer.recorder.rows import TIME, WORD, WORDS, Column, Recording, as_json, log_columns

DRIFT_REPORTS: Recording[DriftReported] = Recording(
    "drift_reports",
    DRIFT.model,
    (
        Column("reported_at", TIME, lambda event: event.message.reported_at),
        Column("model", WORD, lambda event: event.message.model),
        Column("tenant", WORD, lambda event: event.message.tenant),
        Column("report_id", "String", lambda event: event.message.report_id),
        Column("window_start", TIME, lambda event: event.message.window.start),
        Column("window_end", TIME, lambda event: event.message.window.end),
        Column("window_requests", "UInt64", lambda event: event.message.window.requests),
        Column("baseline_start", TIME, lambda event: event.message.baseline.start),
        Column("baseline_end", TIME, lambda event: event.message.baseline.end),
        Column("baseline_requests", "UInt64", lambda event: event.message.baseline.requests),
        Column("drifted", "Bool", lambda event: event.message.drifted),
        Column("severity", WORD, lambda event: event.message.severity.value),
        Column("alpha", "Float64", lambda event: event.message.alpha),
        Column(
            "significant_tests",
            WORDS,
            lambda event: [
                one.test for one in event.message.readings if one.adjusted_p <= event.message.alpha
            ],
        ),
        Column("readings", "String", lambda event: as_json(event.message.readings)),
        Column("skipped", "Map(String, String)", lambda event: event.message.skipped),
        Column("drivers", "String", lambda event: as_json(event.message.drivers)),
        Column("examples", "Array(String)", lambda event: event.message.examples),
        Column("explanation", "Array(String)", lambda event: event.message.explanation),
        *log_columns(),
    ),
)
