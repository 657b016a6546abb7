"""recommendations.changes: what is recommended, and what people decided of it."""

from collections.abc import Callable
from typing import Any

from schemas.events.insight.recommendations import Advice, RecommendationChanged
from schemas.topics import RECOMMENDATIONS
from services.analyzer.recorder.rows import TIME, WORD, Column, Recorded, Recording, log_columns


def _advice(name: str, kind: str, value: Callable[[Advice], Any], otherwise: Any) -> Column[Any]:
    """A column of the advice, which a decision has not."""

    def of(event: Recorded[RecommendationChanged]) -> Any:
        return otherwise if event.message.advice is None else value(event.message.advice)

    return Column(name, kind, of)


def _harm(event: Recorded[RecommendationChanged]) -> float:
    """As it was told, or as it was when somebody decided."""
    advice = event.message.advice
    return event.message.harm if advice is None else advice.harm


def _severity(event: Recorded[RecommendationChanged]) -> str:
    advice = event.message.advice
    return event.message.severity if advice is None else advice.severity


RECOMMENDATION_CHANGES: Recording[RecommendationChanged] = Recording(
    "recommendation_changes",
    RECOMMENDATIONS.model,
    (
        Column("changed_at", TIME, lambda event: event.message.changed_at),
        Column("tenant", WORD, lambda event: event.message.tenant),
        Column("fingerprint", "String", lambda event: event.message.fingerprint),
        Column("change_id", "String", lambda event: event.message.change_id),
        Column("change", WORD, lambda event: event.message.change.value),
        Column("changed_by_kind", WORD, lambda event: event.message.changed_by_kind),
        Column("changed_by", "String", lambda event: event.message.changed_by),
        Column("reason", "String", lambda event: event.message.reason),
        Column("severity", WORD, _severity),
        Column("harm", "Float64", _harm),
        _advice("rule", WORD, lambda one: one.rule, ""),
        _advice("family", WORD, lambda one: one.family, ""),
        _advice("score", "Float64", lambda one: one.score, 0.0),
        _advice("title", "String", lambda one: one.title, ""),
        _advice("why", "String", lambda one: one.why, ""),
        _advice("actions", "Array(String)", lambda one: list(one.actions), []),
        _advice("subject", "Map(String, String)", lambda one: one.subject, {}),
        _advice("facts", "Map(String, String)", lambda one: one.facts, {}),
        _advice("query", WORD, lambda one: one.query, ""),
        _advice("days", "UInt16", lambda one: one.days, 0),
        _advice("as_of", f"Nullable({TIME})", lambda one: one.as_of, None),
        _advice("figure", WORD, lambda one: one.figure, ""),
        _advice("unit", WORD, lambda one: one.unit, ""),
        _advice("target", "Float64", lambda one: one.target, 0.0),
        _advice("gain", "Float64", lambda one: one.gain, 0.0),
        _advice("gain_low", "Float64", lambda one: one.gain_low, 0.0),
        _advice("gain_high", "Float64", lambda one: one.gain_high, 0.0),
        _advice("confidence", "Float64", lambda one: one.confidence, 0.0),
        _advice("statistic", WORD, lambda one: one.statistic, ""),
        *log_columns(),
    ),
)
