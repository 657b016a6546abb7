"""Which topic is recorded in which table: one file a topic.

A new topic needs a file here, a migration in infra/clickhouse and a part of v_ledger.
audit.entries is missing on purpose: the audit role chains it (ADR 12).
"""

from typing import Any

from schemas.topics import (
    ALERTS,
    BREACHES,
    COMPLETED,
    DRIFT,
    FEEDBACK,
    FINDING_FEEDBACK,
    FINDINGS,
    RECOMMENDATIONS,
    TOPICS,
    dead_letter_name,
)
from schemas.topics import RETRAINING_REQUESTS as RETRAINING_REQUESTS_TOPIC
from schemas.topics import RETRAINING_RESULTS as RETRAINING_RESULTS_TOPIC
from services.analyzer.recorder.rows import Recording
from services.analyzer.recorder.tables.alerts_raised import ALERTS_RAISED
from services.analyzer.recorder.tables.dead_letters import DEAD_LETTERED
from services.analyzer.recorder.tables.drift_reports import DRIFT_REPORTS
from services.analyzer.recorder.tables.feedback_submitted import FEEDBACK_SUBMITTED
from services.analyzer.recorder.tables.finding_feedback import FINDING_FEEDBACK_GIVEN
from services.analyzer.recorder.tables.inference_completed import INFERENCE_COMPLETED
from services.analyzer.recorder.tables.kpi_breaches import KPI_BREACHES
from services.analyzer.recorder.tables.recommendations import RECOMMENDATION_CHANGES
from services.analyzer.recorder.tables.retraining import RETRAINING_REQUESTS, RETRAINING_RESULTS
from services.analyzer.recorder.tables.security_findings import SECURITY_FINDINGS

RECORDINGS: dict[str, Recording[Any]] = {
    COMPLETED.name: INFERENCE_COMPLETED,
    FEEDBACK.name: FEEDBACK_SUBMITTED,
    FINDINGS.name: SECURITY_FINDINGS,
    FINDING_FEEDBACK.name: FINDING_FEEDBACK_GIVEN,
    BREACHES.name: KPI_BREACHES,
    DRIFT.name: DRIFT_REPORTS,
    ALERTS.name: ALERTS_RAISED,
    RETRAINING_REQUESTS_TOPIC.name: RETRAINING_REQUESTS,
    RETRAINING_RESULTS_TOPIC.name: RETRAINING_RESULTS,
    RECOMMENDATIONS.name: RECOMMENDATION_CHANGES,
    **{dead_letter_name(topic.name): DEAD_LETTERED for topic in TOPICS if topic.dead_letters},
}
"""Each topic's name with where its events go."""
