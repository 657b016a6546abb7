"""inference.completed: one row for each request that ended."""

from schemas.events.security import PromptRisk
from schemas.inference import InferenceCompleted
from schemas.topics import COMPLETED
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

_NOT_INSPECTED = PromptRisk(level="", action="", depth="")


def _risk(message: InferenceCompleted) -> PromptRisk:
    return message.risk or _NOT_INSPECTED


INFERENCE_COMPLETED: Recording[InferenceCompleted] = Recording(
    "inference_events",
    COMPLETED.model,
    (
        Column("completed_at", TIME, lambda event: event.message.completed_at),
        Column("requested_at", TIME, lambda event: event.message.requested_at),
        Column("tenant", WORD, lambda event: event.message.tenant),
        Column("model", WORD, lambda event: event.message.model),
        Column("request_id", "String", lambda event: event.message.request_id),
        Column("key_id", WORD, lambda event: event.message.key_id),
        Column("user", "String", lambda event: event.message.user),
        Column("kind", WORD, lambda event: event.message.kind),
        Column("lane", WORD, lambda event: event.message.lane.value),
        Column("stream", "Bool", lambda event: event.message.stream),
        Column("outcome", WORD, lambda event: event.message.outcome.value),
        Column("finish_reasons", WORDS, lambda event: event.message.finish_reasons),
        Column("error_code", WORD, lambda event: event.message.error_code or ""),
        Column("attempts", "UInt16", lambda event: event.message.attempts),
        Column("replica_id", WORD, lambda event: event.message.replica_id),
        Column("prompt_tokens", "UInt32", lambda event: event.message.prompt_tokens),
        Column("completion_tokens", "UInt32", lambda event: event.message.completion_tokens),
        Column("cached_tokens", "UInt32", lambda event: event.message.cached_tokens),
        Column("cost_usd", f"Nullable({PRICE})", lambda event: event.message.cost_usd),
        Column("duration_ms", "Float64", lambda event: event.message.duration_ms),
        Column("queue_ms", MEASURE, lambda event: event.message.queue_ms),
        Column("ttft_ms", MEASURE, lambda event: event.message.ttft_ms),
        Column("tokens_per_s", MEASURE, lambda event: event.message.tokens_per_s),
        Column("mean_logprob", MEASURE, lambda event: event.message.mean_logprob),
        Column("prompt_chars", "UInt32", lambda event: event.message.prompt_chars),
        Column("response_chars", "UInt32", lambda event: event.message.response_chars),
        Column("prompt_text", "Nullable(String)", lambda event: event.message.prompt_text),
        Column("response_text", "Nullable(String)", lambda event: event.message.response_text),
        Column("risk_level", WORD, lambda event: _risk(event.message).level),
        Column("risk_score", "Float64", lambda event: _risk(event.message).score),
        Column("risk_action", WORD, lambda event: _risk(event.message).action),
        Column("risk_categories", WORDS, lambda event: _risk(event.message).categories),
        Column("risk_depth", WORD, lambda event: _risk(event.message).depth),
        Column("risk_probability", MEASURE, lambda event: _risk(event.message).probability),
        Column("risk_timed_out", "Bool", lambda event: _risk(event.message).timed_out),
        Column("risk_partial", "Bool", lambda event: _risk(event.message).partial),
        Column("risk_detector", WORD, lambda event: _risk(event.message).detector_version),
        Column("risk_rules", WORD, lambda event: _risk(event.message).rules_version),
        Column("occurred_at", TIME, lambda event: event.envelope.occurred_at),
        Column("traceparent", "String", lambda event: event.envelope.traceparent or ""),
        *log_columns(),
    ),
)
