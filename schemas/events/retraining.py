"""Training a model again: retraining.requests asks, retraining.results tells how far it
came.
"""

from decimal import Decimal
from enum import StrEnum

from pydantic import AwareDatetime, Field

from schemas.base import Finite, Message


class RetrainingRequested(Message):
    """A model shall be trained again.

    `requested_by` is a service or an operator. `reasons` are drift, low_satisfaction,
    new_data, model_age or asked; `explanation` has a sentence for each.
    """

    retraining_id: str
    requested_at: AwareDatetime
    requested_by: str
    model: str
    tenant: str = ""
    reasons: tuple[str, ...]
    explanation: tuple[str, ...] = ()
    drift_report_id: str = ""
    examples: int = 0
    budget_usd: Decimal | None = None


class RetrainingStatus(StrEnum):
    """How far a retraining came."""

    STARTED = "started"
    SUCCEEDED = "succeeded"
    REJECTED = "rejected"
    FAILED = "failed"
    ROLLED_BACK = "rolled_back"


class RetrainingResult(Message):
    """A step of a retraining, several for each `retraining_id`.

    rejected: it was trained, and was not better. `metrics_before` and `metrics_after`
    are measured on the same held-out examples.
    """

    retraining_id: str
    reported_at: AwareDatetime
    model: str
    tenant: str = ""
    status: RetrainingStatus
    base_version: str = ""
    new_version: str = ""
    examples: int = 0
    metrics_before: dict[str, Finite] = Field(default_factory=dict)
    metrics_after: dict[str, Finite] = Field(default_factory=dict)
    cost_usd: Decimal = Decimal(0)
    duration_s: Finite | None = None
    error: str = ""
