"""retraining.requests and retraining.results: models that are trained again."""

from schemas.events.retraining import RetrainingRequested, RetrainingResult
from schemas.topics import RETRAINING_REQUESTS as REQUESTS_TOPIC
from schemas.topics import RETRAINING_RESULTS as RESULTS_TOPIC
from services.analyzer.recorder.rows import (
    MEASURE,
    PRICE,
    TIME,
    WORD,
    WORDS,
    Column,
    Recording,
    log_columns,
)

RETRAINING_REQUESTS: Recording[RetrainingRequested] = Recording(
    "retraining_requests",
    REQUESTS_TOPIC.model,
    (
        Column("requested_at", TIME, lambda event: event.message.requested_at),
        Column("model", WORD, lambda event: event.message.model),
        Column("tenant", WORD, lambda event: event.message.tenant),
        Column("retraining_id", "String", lambda event: event.message.retraining_id),
        Column("requested_by", WORD, lambda event: event.message.requested_by),
        Column("reasons", WORDS, lambda event: event.message.reasons),
        Column("explanation", "Array(String)", lambda event: event.message.explanation),
        Column("drift_report_id", "String", lambda event: event.message.drift_report_id),
        Column("examples", "UInt64", lambda event: event.message.examples),
        Column("budget_usd", f"Nullable({PRICE})", lambda event: event.message.budget_usd),
        *log_columns(),
    ),
)

RETRAINING_RESULTS: Recording[RetrainingResult] = Recording(
    "retraining_results",
    RESULTS_TOPIC.model,
    (
        Column("reported_at", TIME, lambda event: event.message.reported_at),
        Column("model", WORD, lambda event: event.message.model),
        Column("tenant", WORD, lambda event: event.message.tenant),
        Column("retraining_id", "String", lambda event: event.message.retraining_id),
        Column("status", WORD, lambda event: event.message.status.value),
        Column("base_version", WORD, lambda event: event.message.base_version),
        Column("new_version", WORD, lambda event: event.message.new_version),
        Column("examples", "UInt64", lambda event: event.message.examples),
        Column("metrics_before", "Map(String, Float64)", lambda event: event.message.metrics_before),
        Column("metrics_after", "Map(String, Float64)", lambda event: event.message.metrics_after),
        Column("cost_usd", PRICE, lambda event: event.message.cost_usd),
        Column("duration_s", MEASURE, lambda event: event.message.duration_s),
        Column("error", "String", lambda event: event.message.error),
        *log_columns(),
    ),
)
