"""What security analysis saw of each request (security.observations), what it found in a
prompt, an answer or a user's behaviour (security.findings), how suspicious that makes a
user (security.risk), and what it remembers (security.subjects); and what a gateway found
in a prompt before it served it.
"""

from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import AwareDatetime, Discriminator, Field, Tag, TypeAdapter

from schemas.base import Finite, Message

MAX_MASKED_CHARS = 100_000


class RiskLevel(StrEnum):
    """How dangerous."""

    NONE = "none"
    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"
    CRITICAL = "critical"


class PromptRisk(Message):
    """How dangerous a prompt is, as far as it was read.

    `level` is none, low, medium, high or critical, `score` in points. `action` is what
    was done: allowed, flagged or blocked. `depth` is how it was judged: by `rules`
    alone, by the `model` too, or not at all (`none`). `timed_out`: the model was wanted
    and had no time; `partial`: not all of the text was read. Either wants a deeper look.
    """

    level: str = "none"
    score: Finite = 0.0
    action: str = "allowed"
    depth: str = "rules"
    categories: tuple[str, ...] = ()
    probability: Finite | None = None
    timed_out: bool = False
    partial: bool = False
    detector_version: str = ""
    rules_version: str = ""


class RuleHit(Message):
    """A rule that matched.

    `start` and `end` are characters of the text that was analysed (-1: of no single
    place); `view` says how it had been disguised.
    """

    rule: str
    category: str = ""
    weight: Finite = 0.0
    start: int = -1
    end: int = -1
    view: str = ""


class Neighbour(Message):
    """A known text or an earlier request that is like this one: `similarity` is 0 to 1,
    `label` what it was judged to be.
    """

    reference: str
    similarity: Finite
    label: str = ""
    masked_text: str = ""


class SecurityFinding(Message):
    """One finding with what an investigator needs.

    `place` is prompt, response or behaviour; `depth` inline (before serving) or full.
    `score` is in points (levels begin at 3, 7, 12 and 20 by default). `action` is what
    was done: allowed, flagged, masked or blocked. Texts are masked.
    """

    finding_id: str
    found_at: AwareDatetime
    tenant: str
    user: str = ""
    key_id: str = ""
    request_id: str = ""
    model: str = ""
    place: str
    depth: str
    category: str
    level: RiskLevel
    score: Finite
    probability: Finite | None = None
    action: str
    rules: tuple[RuleHit, ...] = ()
    detector_version: str = ""
    rules_version: str = ""
    explanation: tuple[str, ...] = ()
    masked_text: str | None = Field(None, max_length=MAX_MASKED_CHARS)
    neighbours: tuple[Neighbour, ...] = ()


class FindingFeedback(Message):
    """Whether a finding was right: security.feedback; the newest for a finding holds.

    `verdict` is true_alarm or false_alarm. `given_by` is a key's public part, a user's
    pseudonym or an operator's name, as `given_by_kind` says. The rest is the finding's
    own, so that thresholds can be derived without it; nothing says whose it is.
    """

    feedback_id: str
    finding_id: str
    tenant: str
    verdict: str
    given_by_kind: str
    given_by: str
    given_at: AwareDatetime
    category: str = ""
    level: RiskLevel = RiskLevel.NONE
    place: str = ""
    score: Finite = 0.0
    detector_version: str = ""
    rules_version: str = ""


class UserRisk(Message):
    """How suspicious a user's requests were lately: security.risk, the newest record of
    each `tenant/user` holds, an empty one ends it.

    `findings` counts what was found in the time that the analysis looks back over, up
    to `assessed_at`; from then on it wanes. `user` is a pseudonym.
    """

    tenant: str
    user: str
    findings: int = 0
    level: RiskLevel = RiskLevel.NONE
    score: Finite = 0.0
    assessed_at: AwareDatetime


class TextFinding(Message):
    """A finding before it is told: without neighbours. `text` is a digest of the text
    that it is about, which is an `earlier` message of the conversation or the newest.
    """

    finding: SecurityFinding
    text: str = ""
    earlier: bool = False


class RequestObserved(Message):
    """What the inspection of an ended request saw, without its text:
    security.observations, a tenant's in one order.

    `at` is when the request ended. `score` is the prompt's, in points; `outcome` and
    `error_code` are those of its end. `sketch` (hexadecimal) tells how like another
    text what the user wrote is, and is empty where no text was kept.
    """

    request_id: str
    tenant: str
    user: str = ""
    key_id: str = ""
    model: str = ""
    at: AwareDatetime
    outcome: str = ""
    error_code: str | None = None
    score: Finite = 0.0
    sketch: str = Field("", max_length=1024)
    findings: tuple[TextFinding, ...] = ()


class SubjectForgotten(Message):
    """A person was erased: who reads it forgets what `users` (pseudonyms) and `key_ids`
    of a tenant did before `before`. It lies among the observations, so that what is
    known follows from their order alone.
    """

    kind: Literal["forgotten"] = "forgotten"
    tenant: str
    users: tuple[str, ...]
    key_ids: tuple[str, ...] = ()
    before: AwareDatetime


def _observed_kind(found: Any) -> str:
    """What a record tells of: of a request, where it does not say."""
    kind = found.get("kind", "request") if isinstance(found, dict) else getattr(found, "kind", "request")
    return str(kind)


AnyObservation = RequestObserved | SubjectForgotten
OBSERVATION: TypeAdapter[AnyObservation] = TypeAdapter(
    Annotated[
        Annotated[RequestObserved, Tag("request")] | Annotated[SubjectForgotten, Tag("forgotten")],
        Discriminator(_observed_kind),
    ]
)


class SubjectRemembered(Message):
    """What is remembered of a user or a key, as of the newest checkpoint.

    `partition` is the one of security.observations that it follows from; `state` is in
    `format`, and only the role that wrote it reads it. `since` is the earliest request
    that it rests on; None where that is not known.
    """

    kind: Literal["subject"] = "subject"
    partition: int
    subject: str
    format: int
    state: dict[str, Any]
    since: AwareDatetime | None = None


class CheckpointRemembered(Message):
    """Up to which offset of its partition of security.observations the subjects say what
    was seen.

    `seen` are digests of the latest observations in the order in which they came,
    `newest_s` the latest time that one told (Unix seconds).
    """

    kind: Literal["checkpoint"] = "checkpoint"
    partition: int
    format: int
    offset: int
    newest_s: Finite = 0.0
    seen: tuple[str, ...] = ()


class EffectsRemembered(Message):
    """What followed from the observations before `offset` was told: findings, risks."""

    kind: Literal["effects"] = "effects"
    partition: int
    offset: int


AnyMemory = SubjectRemembered | CheckpointRemembered | EffectsRemembered
MEMORY: TypeAdapter[AnyMemory] = TypeAdapter(Annotated[AnyMemory, Field(discriminator="kind")])
