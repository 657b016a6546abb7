"""feedback.submitted: ratings of answers."""

from schemas.events.feedback import FeedbackSubmitted
from schemas.topics import FEEDBACK
from services.analyzer.recorder.rows import TIME, WORD, Column, Recording, log_columns

FEEDBACK_SUBMITTED: Recording[FeedbackSubmitted] = Recording(
    "feedback",
    FEEDBACK.model,
    (
        Column("submitted_at", TIME, lambda event: event.message.submitted_at),
        Column("requested_at", f"Nullable({TIME})", lambda event: event.message.requested_at),
        Column("tenant", WORD, lambda event: event.message.tenant),
        Column("model", WORD, lambda event: event.message.model),
        Column("request_id", "String", lambda event: event.message.request_id),
        Column("feedback_id", "String", lambda event: event.message.feedback_id),
        Column("key_id", WORD, lambda event: event.message.key_id),
        Column("user", "String", lambda event: event.message.user),
        Column("rating", "Int8", lambda event: event.message.rating),
        Column("comment", "Nullable(String)", lambda event: event.message.comment),
        Column("correction", "Nullable(String)", lambda event: event.message.correction),
        *log_columns(),
    ),
)
