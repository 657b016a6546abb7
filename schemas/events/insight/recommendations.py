"""What is recommended, and what people decided of it: recommendations.changes."""

from enum import StrEnum

from pydantic import AwareDatetime, Field

from schemas.base import Finite, Message


class RecommendationChange(StrEnum):
    """What became of a recommendation. The analyzer raises one, tells its figures anew
    (renewed), opens one again that was settled, or lets one lapse that does not hold any
    more; people accept, dismiss or have done what it says.
    """

    RAISED = "raised"
    RENEWED = "renewed"
    REOPENED = "reopened"
    LAPSED = "lapsed"
    ACCEPTED = "accepted"
    DISMISSED = "dismissed"
    DONE = "done"


class Advice(Message):
    """What is recommended, with what it rests on.

    `query` is a saved query; asked of the `days` before `as_of` and the tenant, its row of
    `subject` is the evidence, of which `facts` are the figures. `harm` is what there is
    of `figure` (a day's mean, or what was counted), of which less is better; `gain` what
    would be gained if it fell to `target`, in `unit`, with its 90 % interval by
    `statistic`; `confidence` (0 to 1) that there is any. Nothing in it names a person.
    """

    rule: str
    family: str
    severity: str
    score: Finite
    title: str
    why: str
    actions: tuple[str, ...]
    subject: dict[str, str]
    facts: dict[str, str]
    query: str
    days: int
    as_of: AwareDatetime
    figure: str
    unit: str
    harm: Finite
    target: Finite
    gain: Finite
    gain_low: Finite
    gain_high: Finite
    confidence: Finite
    statistic: str


class RecommendationChanged(Message):
    """One change. `fingerprint` is the same for the same rule and subject, always.

    `advice` is there as the analyzer raises, renews or opens again; a person's decision
    has the `harm` and `severity` that it was made on instead, and who made it.
    """

    change_id: str
    fingerprint: str
    tenant: str = ""
    change: RecommendationChange
    changed_at: AwareDatetime
    changed_by_kind: str = "service"
    changed_by: str = "advice"
    reason: str = Field("", max_length=500)
    advice: Advice | None = None
    harm: Finite = 0.0
    severity: str = ""
