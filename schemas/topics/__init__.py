"""The one list of topics: what each carries, how it is keyed, how long it keeps, who
writes and who reads.

`tocsin topics` provisions from it; the AsyncAPI document, the JSON Schemas and the
contract tests are made from it.
"""

from schemas.topics.coordination import (
    BUDGETS_WARNED,
    CONTROL,
    IDEMPOTENCY_ANSWERS,
    IDEMPOTENCY_CLAIMS,
    KEY_USES,
    LIMIT_SHARES,
    SESSIONS,
)
from schemas.topics.inference import (
    COMMANDS,
    COMPLETED,
    REPLIES,
    REQUESTS,
    STATUS_TOPIC,
    WORK_TOPIC,
    inbox_partition,
    model_slug,
    requests_topic,
)
from schemas.topics.insight import ALERTS, BREACHES, DRIFT, FEEDBACK, RETRAINING_REQUESTS, RETRAINING_RESULTS
from schemas.topics.security import (
    AUDIT,
    AUDIT_ANCHORS,
    ERASURES,
    FINDING_FEEDBACK,
    FINDINGS,
    OBSERVATIONS,
    RISK,
    SUBJECTS,
)
from schemas.topics.topic import Topic, dead_letter_name, dead_letter_topic

__all__ = [
    "ALERTS",
    "AUDIT",
    "AUDIT_ANCHORS",
    "BREACHES",
    "BUDGETS_WARNED",
    "COMMANDS",
    "COMPLETED",
    "CONTROL",
    "DRIFT",
    "ERASURES",
    "FEEDBACK",
    "FINDINGS",
    "FINDING_FEEDBACK",
    "IDEMPOTENCY_ANSWERS",
    "IDEMPOTENCY_CLAIMS",
    "KEY_USES",
    "LIMIT_SHARES",
    "OBSERVATIONS",
    "REPLIES",
    "REQUESTS",
    "RETRAINING_REQUESTS",
    "RETRAINING_RESULTS",
    "RISK",
    "SESSIONS",
    "STATUS_TOPIC",
    "SUBJECTS",
    "TOPICS",
    "WORK_TOPIC",
    "Topic",
    "dead_letter_name",
    "dead_letter_topic",
    "inbox_partition",
    "model_slug",
    "requests_topic",
]

TOPICS: tuple[Topic, ...] = (
    REQUESTS,
    WORK_TOPIC,
    REPLIES,
    COMMANDS,
    STATUS_TOPIC,
    COMPLETED,
    CONTROL,
    SESSIONS,
    KEY_USES,
    IDEMPOTENCY_CLAIMS,
    IDEMPOTENCY_ANSWERS,
    LIMIT_SHARES,
    FEEDBACK,
    AUDIT,
    AUDIT_ANCHORS,
    ERASURES,
    FINDINGS,
    FINDING_FEEDBACK,
    RISK,
    OBSERVATIONS,
    SUBJECTS,
    BREACHES,
    DRIFT,
    ALERTS,
    BUDGETS_WARNED,
    RETRAINING_REQUESTS,
    RETRAINING_RESULTS,
)
