"""What calls to /api/security say, and what they are answered with."""

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from services.console.domain.moments import EARLIEST, LATEST
from services.console.domain.threats.tuning import TunedLevel
from services.console.security.feedback import Verdict
from services.console.security.findings import FILTERS, FindingQuery

_Text = Annotated[str, Field(max_length=200)]
_Moment = Annotated[AwareDatetime, Field(ge=EARLIEST, le=LATEST)]
_LONGEST_DAYS = 400
_LONGEST_TIMELINE_DAYS = 60
_TENANT = "Of this tenant; who does not administer the platform sees their own only."


class SummaryParameters(BaseModel, extra="forbid"):
    """Which hours."""

    tenant: _Text = Field("", description=_TENANT)
    window_hours: int = Field(24, ge=1, le=_LONGEST_DAYS * 24, description="So many up to now.")


class LevelCounts(BaseModel):
    """Findings by their level."""

    low: int
    medium: int
    high: int
    critical: int


class HourCounts(LevelCounts):
    """Those of an hour."""

    hour: datetime


class SummaryAnswer(BaseModel):
    """What there was, in counts."""

    since: datetime
    until: datetime
    findings: int
    by_level: LevelCounts
    by_category: dict[str, int]
    by_action: dict[str, int]
    true_alarms: int = Field(description="Findings of which people said so.")
    false_alarms: int
    users: int = Field(description="With findings.")
    keys: int = Field(description="With findings that are about the key.")
    requests: int = Field(description="That ended.")
    inspected: int = Field(description="Of them, by a gateway.")
    blocked: int
    by_hour: list[HourCounts] = Field(description="Hours with findings.")


class FindingParameters(BaseModel, extra="forbid"):
    """Which findings."""

    limit: int = Field(50, ge=1, le=200, description="At most so many.")
    cursor: str = Field("", max_length=400, description="`next_cursor` of the page before.")
    tenant: _Text = Field("", description=_TENANT)
    user: _Text = Field("", description="A pseudonym; with a tenant also the name its requests give.")
    category: _Text = Field("", description="Such as jailbreak.")
    level: Literal["", "low", "medium", "high", "critical"] = Field("", description="Of exactly this level.")
    place: Literal["", "prompt", "response", "behaviour"] = ""
    action: Literal["", "allowed", "flagged", "masked", "blocked"] = ""
    request_id: _Text = ""
    key_id: _Text = ""
    feedback: Literal["", "none", "true_alarm", "false_alarm"] = Field("", description="What people said.")
    since: _Moment | None = Field(None, description="A time with its offset.")
    until: _Moment | None = Field(None, description="The same; it does not count itself.")

    @property
    def query(self) -> FindingQuery:
        """The findings that are meant."""
        named = self.model_dump(include=set(FILTERS))
        return FindingQuery(
            {name: value for name, value in named.items() if value},
            self.user,
            self.feedback,
            self.since,
            self.until,
            self.cursor,
            self.limit,
        )


class RuleAnswer(BaseModel):
    """A rule that matched."""

    model_config = ConfigDict(extra="allow")

    rule: str
    category: str = ""
    weight: float = 0.0
    start: int = -1
    end: int = -1
    view: str = ""


class NeighbourAnswer(BaseModel):
    """An earlier request that is like it."""

    model_config = ConfigDict(extra="allow")

    reference: str
    similarity: float
    label: str = ""


class FeedbackGiven(BaseModel):
    """The newest that somebody said."""

    verdict: Verdict
    given_by: str = Field(description="A key's public part, a user's pseudonym or an operator's name.")
    given_at: datetime


class FindingRecord(BaseModel):
    """One finding; its text is masked."""

    finding_id: str
    found_at: datetime
    tenant: str
    user: str = Field(description="A pseudonym; empty for findings about a key.")
    key_id: str
    request_id: str
    model: str
    place: str
    depth: str
    category: str
    level: str
    score: float
    probability: float | None
    action: str
    rules: list[RuleAnswer]
    detector_version: str
    rules_version: str
    explanation: list[str]
    masked_text: str | None
    neighbours: list[NeighbourAnswer]
    feedback: FeedbackGiven | None


class FindingsAnswer(BaseModel):
    """A page, the newest first."""

    data: list[FindingRecord]
    next_cursor: str | None


class TimelineParameters(BaseModel, extra="forbid"):
    """Which days."""

    tenant: _Text = Field("", description=_TENANT)
    days: int = Field(7, ge=1, le=_LONGEST_TIMELINE_DAYS, description="So many up to now.")


class TimelineHour(BaseModel):
    """An hour with requests or findings."""

    hour: datetime
    requests: int
    blocked: int
    highest_score: float = Field(description="Points of the worst prompt, as gateways saw them.")
    findings: int
    highest_level: Literal["none", "low", "medium", "high", "critical"]


class TimelineAnswer(BaseModel):
    """What a user did, by the hour, and what was found of it."""

    user: str
    since: datetime
    until: datetime
    hours: list[TimelineHour]
    findings: list[FindingRecord] = Field(description="The newest first.")
    has_more_findings: bool


class FindingFeedbackBody(BaseModel):
    """Whether a finding was right."""

    model_config = ConfigDict(extra="forbid")

    verdict: Verdict


class FindingFeedbackTaken(BaseModel):
    """What the bus has."""

    feedback_id: str
    finding_id: str
    verdict: Verdict
    given_by: str
    given_at: datetime


class TuningParameters(BaseModel, extra="forbid"):
    """What is wanted."""

    tenant: _Text = Field("", description=_TENANT)
    level: TunedLevel = Field("high", description="Whose threshold is sought.")
    target: float = Field(0.05, gt=0, lt=1, description="Largest share of false alarms.")
    confidence: float = Field(0.95, ge=0.5, le=0.999, description="How sure that shall be.")
    days: int = Field(90, ge=1, le=_LONGEST_DAYS, description="From so many days up to now.")


class ScoreThresholds(BaseModel):
    """From how many points on a level begins."""

    low: float
    medium: float
    high: float
    critical: float


class ShareInterval(BaseModel):
    """Holds the share of false alarms, with the confidence of each."""

    low: float
    high: float


class CandidateAnswer(BaseModel):
    """A threshold, and what people said of the alarms from it on."""

    threshold: float
    alarms: int
    false_alarms: int
    false_alarm_rate: float | None
    interval: ShareInterval


class TunedAnswer(CandidateAnswer):
    """With all thresholds as they are then."""

    thresholds: ScoreThresholds


class LevelChange(BaseModel):
    """Prompts of a level, now and then."""

    level: str
    present: int
    proposed: int


class RecordedAnswer(BaseModel):
    """The traffic of those days, had the thresholds been these."""

    prompts: int = Field(description="That gateways inspected.")
    by_level: list[LevelChange]
    raised: int
    lowered: int


class ChangeToMake(BaseModel):
    """A call that an administrator of the platform may make."""

    method: str
    path: str
    body: dict[str, Any]


class TuningAnswer(BaseModel):
    """What is proposed, on what it rests, and how it is set and taken back."""

    tenant: str
    level: TunedLevel
    target: float
    confidence: float
    confidence_of_each: float
    method: str
    since: datetime
    judged: int = Field(description="Findings in prompts of which people said what they are.")
    judged_false: int
    findings: int = Field(description="All findings in prompts of those days.")
    present: TunedAnswer
    proposed: TunedAnswer | None = Field(description="None where too little was said, or it is not so.")
    candidates: list[CandidateAnswer]
    recorded: RecordedAnswer | None
    apply: list[ChangeToMake] = Field(description="Calls that set it, in this order.")
    revert: list[ChangeToMake]
