"""A request's way over the bus: asked, assigned, answered in chunks, finished,
completed.

| topic | models |
|-|-|
| inference.requests.<model>.<lane> | InferenceRequested |
| inference.work | Work = WorkAssigned or WorkCancelled |
| inference.replies | Reply = ReplyChunk, ReplyBeat, ReplyEnded, RetryNeeded or StreamTaken |
| inference.commands | CancelRequested |
| inference.status | Status = ReplicaBeat, RequestFinished or QueueStatus |
| inference.completed | InferenceCompleted |
"""

from decimal import Decimal
from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import AwareDatetime, Field, TypeAdapter

from schemas.base import AnswerHandling, Finite, Message, PromptPart, Running, TenantTurn
from schemas.events.security import PromptRisk

Logprob = dict[str, Any]
"""One token's log-probability as the OpenAI API shows it: token, logprob, bytes,
top_logprobs.
"""


class Lane(StrEnum):
    """How soon a request is wanted."""

    INTERACTIVE = "interactive"
    BATCH = "batch"


class Outcome(StrEnum):
    """How a request ended; each ends exactly once."""

    COMPLETED = "completed"
    CANCELLED = "cancelled"
    EXPIRED = "expired"
    FAILED = "failed"
    BLOCKED = "blocked"
    CACHE_HIT = "cache_hit"


class LogPosition(Message):
    """A record's place in the log."""

    topic: str
    partition: int
    offset: int


class ReplyTo(Message):
    """Where a request's answers go: a partition of inference.replies and the gateway
    that reads it.
    """

    partition: int
    gateway_id: str


class Sampling(Message):
    """How to choose tokens; None means the engine's default."""

    temperature: float | None = None
    top_p: float | None = None
    max_tokens: int | None = None
    n: int = 1
    stop: tuple[str, ...] = ()
    seed: int | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    logit_bias: dict[str, float] | None = None
    logprobs: bool = False
    top_logprobs: int = 0
    response_format: dict[str, Any] | None = None
    tools: tuple[dict[str, Any], ...] = ()
    tool_choice: str | dict[str, Any] | None = None
    parallel_tool_calls: bool | None = None
    top_k: int | None = None
    min_p: float | None = None
    repetition_penalty: float | None = None


class Delivered(Message):
    """What the client has of one choice: its text, its tool calls with their parts
    joined, and how many tokens that was.
    """

    text: str = ""
    tokens: int = 0
    finish_reason: str | None = None
    tool_calls: tuple[dict[str, Any], ...] = ()


class ErrorDetail(Message):
    """An error as the client shall see it."""

    status: int = 500
    code: str
    message: str
    param: str | None = None


class Usage(Message):
    """Tokens, as the model's tokenizer counts them, over all choices and attempts."""

    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0


class End(Message):
    """How an attempt ended, and what it took.

    `queue_ms` and `ttft_ms` count from the client's request. `mean_logprob` is over all
    generated tokens, where the engine tells. `retryable` asks for another attempt
    elsewhere: the client has not been told of this end.
    """

    outcome: Outcome
    retryable: bool = False
    usage: Usage = Usage()
    error: ErrorDetail | None = None
    queue_ms: float | None = None
    ttft_ms: float | None = None
    generation_ms: float | None = None
    mean_logprob: float | None = None


class InferenceRequested(Message):
    """A request, or a further attempt at one that a dead replica left unfinished.

    `delivered` has one entry a choice from the second attempt on: generation continues
    exactly after it. `previous` is the earlier attempt's record. `ended` is set where
    the client already has the whole answer, and only the record of its end was lost:
    nothing is generated then. `queue_ms` and `ttft_ms` are those of the attempt that
    gave the client its first token, once one did.

    `accept_by`, by the broker's clock: the client is refused where the log has not
    acknowledged the request till then, so one that was appended later is not begun.
    `share` is how many requests its tenant is served in its turn, 1 where nothing is said.
    """

    request_id: str
    attempt: int = 1
    kind: Literal["chat", "completion"]
    model: str
    lane: Lane
    tenant: str
    key_id: str
    user: str = ""
    messages: tuple[dict[str, Any], ...] = ()
    prompt: str = ""
    sampling: Sampling = Sampling()
    stream: bool = False
    include_usage: bool = False
    reply_to: ReplyTo
    requested_at: AwareDatetime
    deadline: AwareDatetime
    delivered: tuple[Delivered, ...] = ()
    previous: LogPosition | None = None
    ended: End | None = None
    queue_ms: float | None = None
    ttft_ms: float | None = None
    accept_by: AwareDatetime | None = None
    share: Finite | None = None
    risk: PromptRisk | None = None
    answer: AnswerHandling | None = None


class WorkAssigned(Message):
    """The dispatcher gives a request to a replica.

    `epoch` grows with every takeover: a replica ignores what an overtaken dispatcher
    sends. `waiting` is the queue behind this request, for autoscaling.
    """

    kind: Literal["assigned"] = "assigned"
    replica_id: str
    epoch: int
    origin: LogPosition
    request: InferenceRequested
    waiting: int = 0


class WorkCancelled(Message):
    """The dispatcher takes an attempt back."""

    kind: Literal["cancelled"] = "cancelled"
    replica_id: str
    epoch: int
    request_id: str
    attempt: int
    reason: str


class Piece(Message):
    """What was added to one choice."""

    index: int = 0
    text: str = ""
    tokens: int = 0
    finish_reason: str | None = None
    logprobs: tuple[Logprob, ...] | None = None
    tool_calls: tuple[dict[str, Any], ...] | None = None


class ReplyChunk(Message):
    """A replica's next pieces of an attempt.

    `seq` counts from 0 without a gap within (request_id, attempt, replica_id); the last
    chunk carries `end`. The attempt's first chunk with tokens carries its `queue_ms`
    and `ttft_ms`, as `End` counts them.
    """

    kind: Literal["chunk"] = "chunk"
    request_id: str
    tenant: str
    attempt: int
    replica_id: str
    seq: int
    pieces: tuple[Piece, ...] = ()
    end: End | None = None
    queue_ms: float | None = None
    ttft_ms: float | None = None


class ReplyBeat(Message):
    """A replica is computing an attempt that has nothing to show yet."""

    kind: Literal["beat"] = "beat"
    request_id: str
    attempt: int
    replica_id: str


class ReplyEnded(Message):
    """The dispatcher ends a request itself: it expired or was cancelled in the queue,
    failed for good, or had ended before this attempt came.

    `choices` holds the whole text where the request had in fact completed.
    """

    kind: Literal["ended"] = "ended"
    request_id: str
    tenant: str
    attempt: int
    end: End
    choices: tuple[Delivered, ...] = ()


class RetryNeeded(Message):
    """This attempt will not be finished: whoever follows the stream publishes the next
    one, with what was delivered.

    The dispatcher says so when a replica dies; a gateway that hears nothing says so
    too, and acts only when it reads it back, so that all reply streams agree.
    """

    kind: Literal["retry_needed"] = "retry_needed"
    request_id: str
    tenant: str
    attempt: int
    reason: str
    origin: LogPosition


class StreamTaken(Message):
    """A client has reattached: whoever followed the stream for it before shall not
    cancel it when its own client leaves.
    """

    kind: Literal["taken"] = "taken"
    request_id: str
    gateway_id: str
    follower_id: str


class CancelRequested(Message):
    """Nobody wants this request's answer any more."""

    kind: Literal["cancel"] = "cancel"
    request_id: str
    model: str
    tenant: str
    reason: str


class ReplicaBeat(Message):
    """A replica every 250 ms.

    `inbox_position` is the next offset of its inbox partition that it will read:
    whatever lies before it is in `running` or ended.
    """

    kind: Literal["beat"] = "beat"
    replica_id: str
    model: str
    host: str
    pid: int
    inbox: int
    inbox_position: int
    slots: int
    running: tuple[Running, ...] = ()
    tokens_per_s: float = 0.0
    draining: bool = False


class RequestFinished(Message):
    """An attempt's end with its whole text, from the replica to the dispatcher."""

    kind: Literal["finished"] = "finished"
    replica_id: str
    model: str
    request_id: str
    attempt: int
    end: End
    choices: tuple[Delivered, ...] = ()


class QueueStatus(Message):
    """The active dispatcher of a model, every 250 ms: how many wait in each lane, and
    how long the next one will.

    `tenants` has how many of each tenant wait in a lane, of those with the most; `turns`
    has them in the order of their turns, without the `retries`, which go before all.
    `interactive_run` is how many interactive requests were served since the last of the
    batch lane.
    """

    kind: Literal["queue"] = "queue"
    dispatcher_id: str
    model: str
    host: str
    pid: int
    active: bool
    waiting: dict[Lane, int] = Field(default_factory=dict)
    running: int = 0
    slots: int = 0
    eta_ms: float | None = None
    positions: dict[str, int] = Field(default_factory=dict)
    tenants: dict[Lane, dict[str, int]] = Field(default_factory=dict)
    turns: dict[Lane, tuple[TenantTurn, ...]] = Field(default_factory=dict)
    retries: int = 0
    interactive_run: int = 0


class InferenceCompleted(Message):
    """The one end of a request.

    Texts are masked unless a policy has it otherwise, None where none are kept;
    `prompt_parts` say whose the parts of `prompt_text` are. `user` is a pseudonym,
    `cached_tokens` are of the prompt's, `cost_usd` is None where no price is known.
    """

    request_id: str
    tenant: str
    key_id: str
    user: str = ""
    model: str
    kind: Literal["chat", "completion"]
    lane: Lane
    stream: bool
    outcome: Outcome
    finish_reasons: tuple[str, ...] = ()
    error_code: str | None = None
    attempts: int
    replica_id: str = ""
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0
    cost_usd: Decimal | None = None
    requested_at: AwareDatetime
    completed_at: AwareDatetime
    duration_ms: float
    queue_ms: float | None = None
    ttft_ms: float | None = None
    tokens_per_s: float | None = None
    mean_logprob: float | None = None
    prompt_chars: int = 0
    response_chars: int = 0
    prompt_parts: tuple[PromptPart, ...] = ()
    prompt_text: str | None = None
    response_text: str | None = None
    risk: PromptRisk | None = None


Work = Annotated[WorkAssigned | WorkCancelled, Field(discriminator="kind")]
AnyReply = ReplyChunk | ReplyBeat | ReplyEnded | RetryNeeded | StreamTaken
Reply = Annotated[AnyReply, Field(discriminator="kind")]
AnyStatus = ReplicaBeat | RequestFinished | QueueStatus
Status = Annotated[AnyStatus, Field(discriminator="kind")]

WORK: TypeAdapter[WorkAssigned | WorkCancelled] = TypeAdapter(Work)
REPLY: TypeAdapter[AnyReply] = TypeAdapter(Reply)
STATUS: TypeAdapter[AnyStatus] = TypeAdapter(Status)
