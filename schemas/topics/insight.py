"""The topics of what is told of the traffic, and what follows from it."""

from pydantic import TypeAdapter

from schemas.events.alerts import AlertRaised
from schemas.events.drift import DriftReported
from schemas.events.feedback import FeedbackSubmitted
from schemas.events.insight.kpi import KpiBreached, KpiStateRemembered
from schemas.events.insight.recommendations import RecommendationChanged
from schemas.events.retraining import RetrainingRequested, RetrainingResult
from schemas.topics.topic import WEEK, Topic

FEEDBACK = Topic(
    "feedback.submitted.v1",
    TypeAdapter(FeedbackSubmitted),
    "request_id",
    3,
    WEEK,
    ("console",),
    ("recorder",),
    "Ratings of answers.",
    scaled=True,
    ledger=True,
    dead_letters=True,
)
BREACHES = Topic(
    "kpi.breaches.v1",
    TypeAdapter(KpiBreached),
    "breach_id",
    1,
    WEEK,
    ("kpi", "forecast"),
    ("recorder",),
    "Figures that crossed their thresholds or are not as expected, and that came back.",
    ledger=True,
    dead_letters=True,
)
KPI_STATE = Topic(
    "kpi.state.v1",
    TypeAdapter(KpiStateRemembered),
    "group",
    1,
    None,
    ("kpi", "forecast"),
    ("kpi", "forecast"),
    "Up to when the KPI and forecast roles have judged, and which breaches are open, by role.",
)
DRIFT = Topic(
    "drift.reports.v1",
    TypeAdapter(DriftReported),
    "model",
    1,
    WEEK,
    ("drift",),
    ("recorder",),
    "Comparisons of traffic with its baseline.",
    ledger=True,
    dead_letters=True,
)
ALERTS = Topic(
    "alerts.raised.v1",
    TypeAdapter(AlertRaised),
    "fingerprint",
    1,
    WEEK,
    ("alerter",),
    ("recorder",),
    "Every change of an alert's state.",
    ledger=True,
    dead_letters=True,
)
RECOMMENDATIONS = Topic(
    "recommendations.changes.v1",
    TypeAdapter(RecommendationChanged),
    "fingerprint",
    1,
    WEEK,
    ("kpi", "console", "cli"),
    ("recorder",),
    "What is recommended, and what people decided of it.",
    ledger=True,
    dead_letters=True,
)
RETRAINING_REQUESTS = Topic(
    "retraining.requests.v1",
    TypeAdapter(RetrainingRequested),
    "model",
    1,
    WEEK,
    ("drift", "console"),
    ("recorder",),
    "Models that shall be trained again.",
    ledger=True,
    dead_letters=True,
)
RETRAINING_RESULTS = Topic(
    "retraining.results.v1",
    TypeAdapter(RetrainingResult),
    "model",
    1,
    WEEK,
    ("training",),
    ("recorder",),
    "How far each retraining came.",
    ledger=True,
    dead_letters=True,
)
