"""security.feedback: what people say of findings."""

from schemas.events.security import FindingFeedback
from schemas.topics import FINDING_FEEDBACK
from services.analyzer.recorder.rows import TIME, WORD, Column, Recording, log_columns

FINDING_FEEDBACK_GIVEN: Recording[FindingFeedback] = Recording(
    "finding_feedback",
    FINDING_FEEDBACK.model,
    (
        Column("given_at", TIME, lambda event: event.message.given_at),
        Column("tenant", WORD, lambda event: event.message.tenant),
        Column("finding_id", "String", lambda event: event.message.finding_id),
        Column("feedback_id", "String", lambda event: event.message.feedback_id),
        Column("verdict", WORD, lambda event: event.message.verdict),
        Column("given_by_kind", WORD, lambda event: event.message.given_by_kind),
        Column("given_by", "String", lambda event: event.message.given_by),
        Column("category", WORD, lambda event: event.message.category),
        Column("level", WORD, lambda event: event.message.level.value),
        Column("place", WORD, lambda event: event.message.place),
        Column("score", "Float64", lambda event: event.message.score),
        Column("detector_version", WORD, lambda event: event.message.detector_version),
        Column("rules_version", WORD, lambda event: event.message.rules_version),
        *log_columns(),
    ),
)
