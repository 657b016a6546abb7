"""What calls to /api/recommendations say, and what they are answered with."""

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field

from services.console.feedback.recommendations.reader import FILTERS, RecommendationQuery

_Text = Annotated[str, Field(max_length=200)]


class RecommendationParameters(BaseModel, extra="forbid"):
    """Which recommendations."""

    tenant: _Text = Field(
        "", description="Of this tenant; who does not administer the platform sees their own only."
    )
    state: Literal["", "open", "new", "accepted", "dismissed", "done", "lapsed"] = Field(
        "open", description="open: new and accepted; empty: all."
    )
    family: Literal["", "security", "performance", "usage", "cost"] = ""
    severity: Literal["", "info", "warning", "critical"] = ""
    rule: _Text = Field("", description="Of this rule only.")
    limit: int = Field(50, ge=1, le=500, description="At most so many.")
    offset: int = Field(0, ge=0, le=100_000, description="`next_offset` of the page before.")

    @property
    def query(self) -> RecommendationQuery:
        """The recommendations that are meant."""
        named = self.model_dump(include=set(FILTERS))
        return RecommendationQuery(
            {name: value for name, value in named.items() if value}, self.limit, self.offset
        )


class RecommendationRecord(BaseModel):
    """One recommendation as it stands."""

    fingerprint: str = Field(description="The same for the same rule and subject, always.")
    tenant: str = Field(description="Empty for the whole platform and for models.")
    rule: str
    family: str
    severity: str
    state: str = Field(description="new, accepted, dismissed, done or lapsed.")
    score: float = Field(description="How pressing, 0 to 100.")
    title: str
    why: str
    actions: list[str]
    subject: dict[str, str]
    figure: str = Field(description="What is measured; less is better.")
    unit: str = Field(description="Of the gain.")
    harm: float
    target: float
    gain: float
    gain_low: float
    gain_high: float
    confidence: float
    statistic: str
    query: str = Field(description="The saved query that is the evidence.")
    days: int
    as_of: datetime
    facts: dict[str, str]
    raised_at: datetime
    told_at: datetime
    reopened: int
    reopened_because: str | None
    decision: str | None
    decided_at: datetime | None
    decided_by: str | None
    decision_reason: str | None
    decided_harm: float | None
    decided_severity: str | None


class RecommendationsAnswer(BaseModel):
    """A page."""

    data: list[RecommendationRecord]
    next_offset: int | None


class Evidence(BaseModel):
    """The rows that it rests on, as the store has them now."""

    query: str
    command: str
    rows: list[dict[str, Any]]


class EffectAnswer(BaseModel):
    """What came of it: the means of whole weeks before and after the decision."""

    verdict: str = Field(description="better, worse, not sure, or not known yet.")
    needed: str | None = None
    figure: str | None = None
    before: float | None = None
    after: float | None = None
    change: float | None = None
    low: float | None = None
    high: float | None = None
    weeks_before: int | None = None
    weeks_after: int | None = None
    statistic: str | None = None


class HistoryRecord(BaseModel):
    """Something that became of it."""

    changed_at: datetime
    change: str
    changed_by_kind: str
    changed_by: str
    reason: str
    severity: str
    harm: float


class RecommendationAnswer(RecommendationRecord):
    """One recommendation, with its evidence, effect and history, the newest first."""

    evidence: Evidence
    effect: EffectAnswer | None
    history: list[HistoryRecord]


class DecisionBody(BaseModel, extra="forbid"):
    """Why it is decided so."""

    reason: str = Field("", max_length=500)


class DecisionTaken(BaseModel):
    """What was decided; the list has it within seconds."""

    fingerprint: str
    tenant: str
    state: str
    decided_by: str
    decided_at: datetime
    reason: str
