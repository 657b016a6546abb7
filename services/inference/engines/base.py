"""The contract between a replica and whatever generates tokens.

A replica hands an engine one `GenerationRequest` and reads `Piece`s until the last one
of each choice carries a `finish_reason`; then one `Usage` follows, and nothing after
it. A `Usage` may also come early, as soon as the prompt's tokens are counted, so that a
request which is cancelled is recorded with them; the last one counts. Whoever stops
early closes the generator (`contextlib.aclosing`) or cancels the task that reads it:
the engine then stops computing and frees the slot.

The interface is frozen: a change is announced here. Changes since the first commit:
`ContinuationError` (a PermanentError) is new; an engine raises it where what was
delivered cannot be continued. `GenerationRequest.delivered_finish` is new: choices that
had their end before a failover get no more pieces. `Usage` may come early, too.
`Sampling.top_k`, `min_p` and `repetition_penalty` are new.
`GenerationRequest.delivered_calls` is new: what the client has of tool calls.
"""

from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from schemas.errors import ErrorCode
from services.common.errors import PermanentError, TransientError

FinishReason = Literal["stop", "length", "tool_calls", "content_filter"]


class InvalidRequestError(PermanentError):
    """The request itself cannot be served, now or later; the client gets 400 and
    `message`.
    """

    def __init__(self, message: str, *, param: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.param = param

    @property
    def code(self) -> ErrorCode:
        """What the client sees in `error.code`."""
        return ErrorCode.INVALID_REQUEST


class ContextLengthError(InvalidRequestError):
    """Prompt and answer do not fit into the model's context."""

    @property
    def code(self) -> ErrorCode:
        """What the client sees in `error.code`."""
        return ErrorCode.CONTEXT_LENGTH_EXCEEDED


class ContinuationError(PermanentError):
    """What the client already has cannot be continued by this model: another attempt
    will not do it either.
    """


class EngineFailedError(TransientError):
    """Generation broke off or never began, through no fault of the request; another
    attempt may succeed.
    """


@dataclass(frozen=True, slots=True)
class Sampling:
    """How tokens are chosen, in OpenAI's terms.

    None means that the client left it to the model.
    """

    temperature: float | None = None
    top_p: float | None = None
    max_tokens: int | None = None
    stop: tuple[str, ...] = ()
    seed: int | None = None
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    logit_bias: Mapping[str, float] = field(default_factory=dict)
    n: int = 1
    logprobs: bool = False
    top_logprobs: int = 0
    response_format: Mapping[str, Any] | None = None
    tools: tuple[Mapping[str, Any], ...] = ()
    tool_choice: str | Mapping[str, Any] | None = None
    parallel_tool_calls: bool | None = None
    top_k: int | None = None
    min_p: float | None = None
    repetition_penalty: float | None = None


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A part of a tool call; `id` and `name` come with its first part, `arguments` is
    JSON text in pieces.
    """

    index: int
    id: str | None = None
    name: str | None = None
    arguments: str = ""


@dataclass(frozen=True, slots=True)
class GenerationRequest:
    """One attempt at one request.

    `messages` (OpenAI's, with role and content) is read when `kind` is chat, `prompt`
    otherwise. After a failover `delivered` holds, per choice, the text that the client
    already has, and `delivered_tokens` its length in tokens: the engine goes on exactly
    behind it, and counts `max_tokens` and stop strings over the whole. A choice whose
    `delivered_finish` is set is over and gets no more pieces. `delivered_calls` holds
    what the client has of each tool call, its parts joined. All are empty on a first
    attempt.
    """

    request_id: str
    kind: Literal["chat", "completion"]
    tenant: str = ""
    messages: tuple[Mapping[str, Any], ...] = ()
    prompt: str = ""
    sampling: Sampling = Sampling()
    delivered: tuple[str, ...] = ()
    delivered_tokens: tuple[int, ...] = ()
    delivered_finish: tuple[FinishReason | None, ...] = ()
    delivered_calls: tuple[tuple[ToolCall, ...], ...] = ()

    @property
    def open_choices(self) -> tuple[int, ...]:
        """The choices that still lack their end."""
        return tuple(
            index
            for index in range(self.sampling.n)
            if index >= len(self.delivered_finish) or not self.delivered_finish[index]
        )

    def delivered_of(self, choice: int) -> tuple[str, int]:
        """Text and tokens that the client already has of a choice."""
        text = self.delivered[choice] if choice < len(self.delivered) else ""
        tokens = self.delivered_tokens[choice] if choice < len(self.delivered_tokens) else 0
        return text, tokens

    def calls_of(self, choice: int) -> tuple[ToolCall, ...]:
        """The tool calls that the client already has of a choice, whole or in part."""
        return self.delivered_calls[choice] if choice < len(self.delivered_calls) else ()


@dataclass(frozen=True, slots=True)
class TokenLogprob:
    """A token as it was chosen, with the natural logarithm of its probability, and the
    likeliest ones in its place.
    """

    token: str
    logprob: float
    top: tuple[tuple[str, float], ...] = ()


@dataclass(frozen=True, slots=True)
class Piece:
    """What one choice grew by.

    `tokens` counts the tokens behind `text`; a token held back (it may begin a stop
    string, or half a character) counts in the piece that brings its text. The last
    piece of a choice carries `finish_reason`, with or without text.
    """

    index: int
    text: str
    tokens: int = 0
    logprobs: tuple[TokenLogprob, ...] | None = None
    finish_reason: FinishReason | None = None
    tool_calls: tuple[ToolCall, ...] = ()


@dataclass(frozen=True, slots=True)
class Usage:
    """The request's tokens over all its choices and attempts: what was delivered
    earlier counts as completion, not as prompt.
    """

    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int = 0


class Engine(Protocol):
    """Generates tokens for up to `slots` requests at a time; further ones may wait
    inside.
    """

    name: str
    slots: int
    capabilities: frozenset[str]

    async def start(self) -> None:
        """Load what is needed; called once, before anything else.

        Raises:
            ConfigError: the model cannot be loaded as configured.
        """

    async def close(self) -> None:
        """Stop what runs and give memory back; may be called twice."""

    def generate(self, request: GenerationRequest) -> AsyncGenerator[Piece | Usage, None]:
        """Pieces of all choices, interleaved, then one Usage; closing the generator
        stops the generation.

        Raises:
            InvalidRequestError: the request cannot be served; always before the first
                piece.
            ContinuationError: `delivered` cannot be continued; before the first piece.
            EngineFailedError: the generation broke off.
        """

    async def healthy(self) -> bool:
        """Whether a request would be served now."""
