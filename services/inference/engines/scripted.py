"""Deterministic words at a set rate: stands in for a model in tests and benchmarks.

The i-th token is a pure function of seed, choice, prompt and i (`scripted_token`), so a
test can say what a client must receive, and an attempt that continues gives exactly the
rest of what an undisturbed one would have given. Tools, schemas and set texts:
`scripted_answers`.
"""

import asyncio
import zlib
from collections.abc import AsyncGenerator, Sequence

from pydantic import BaseModel, ConfigDict, Field

from services.common.requests.model_catalogue import ModelConfig
from services.inference.domain.choice_text import ChoiceText
from services.inference.engines.base import (
    ContextLengthError,
    FinishReason,
    GenerationRequest,
    Piece,
    TokenLogprob,
    Usage,
)
from services.inference.engines.formats.chat_text import plain_text
from services.inference.engines.scripted_answers import ScriptChoice, script_of

_VOCABULARY = (
    "amber anchor apple arrow autumn badge basket beacon birch bridge candle canyon carbon castle cedar "
    "circle cloud copper coral cotton "
    "crystal dawn delta desert dragon eagle echo ember engine falcon feather fern field flame forest "
    "fossil garden glacier granite harbor "
    "hazel helmet island ivory jasmine jungle kernel lantern lemon linen lotus maple marble meadow mirror"
)
WORDS = tuple(_VOCABULARY.split())


class ScriptedOptions(BaseModel):
    """The engine's options in the models file."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    tokens_per_s: float = Field(default=0.0, ge=0, description="Per stream; 0: as fast as it is read.")
    time_to_first_token_s: float = Field(default=0.0, ge=0)
    default_tokens: int = Field(
        default=32, ge=1, description="Length of the script where the request sets none."
    )
    tokens_per_piece: int = Field(default=64, ge=1, description="At most so many in one piece.")
    tick_s: float = Field(
        default=0.01,
        ge=0,
        description="Pieces of a stream are at least so far apart: what is due meanwhile comes together.",
    )


def scripted_token(prompt: str, position: int, *, seed: int = 0, choice: int = 0) -> str:
    """The token at a position of the script; a word, with a space before it unless it
    is the first.
    """
    return _token(_script_key(prompt, seed, choice), position)


def scripted_text(prompt: str, tokens: int, *, seed: int = 0, choice: int = 0) -> str:
    """The script's first `tokens` tokens in one."""
    key = _script_key(prompt, seed, choice)
    return "".join(_token(key, position) for position in range(tokens))


def prompt_of(request: GenerationRequest) -> str:
    """What the script depends on: the prompt, or the conversation as `role: text`
    lines.
    """
    if request.kind == "completion":
        return request.prompt
    return "\n".join(f"{message.get('role')}: {plain_text(message)}" for message in request.messages)


class ScriptedEngine:
    """Plays scripts, as many at a time as are asked for."""

    def __init__(self, config: ModelConfig, options: ScriptedOptions) -> None:
        self.name = config.name
        self.slots = config.slots
        self.capabilities = config.capabilities
        self.running = 0
        """Streams that are being read now."""
        self._context_length = config.context_length
        self._options = options
        self._started = False

    async def start(self) -> None:
        """There is nothing to load."""
        self._started = True

    async def close(self) -> None:
        """There is nothing to give back."""
        self._started = False

    async def healthy(self) -> bool:
        """Between start and close."""
        return self._started

    async def generate(self, request: GenerationRequest) -> AsyncGenerator[Piece | Usage, None]:
        """See `Engine.generate`."""
        prompt = prompt_of(request)
        prompt_tokens = len(prompt.split())
        budget = request.sampling.max_tokens or self._options.default_tokens
        if prompt_tokens + budget > self._context_length:
            message = (
                f"prompt ({prompt_tokens} tokens) and max_tokens ({budget}) exceed the context of "
                f"{self._context_length} tokens"
            )
            raise ContextLengthError(message, param="messages" if request.kind == "chat" else "prompt")
        script = script_of(request)
        choices: list[_ScriptedChoice | ScriptChoice] = [
            _ScriptedChoice(request, index, prompt, budget)
            if script is None
            else ScriptChoice(request, index, script, request.sampling.max_tokens)
            for index in request.open_choices
        ]
        yield Usage(prompt_tokens=prompt_tokens, completion_tokens=sum(request.delivered_tokens))
        self.running += 1
        try:
            async for piece in self._play(choices):
                yield piece
        finally:
            self.running -= 1
        new_tokens = sum(choice.new_tokens for choice in choices)
        yield Usage(prompt_tokens=prompt_tokens, completion_tokens=sum(request.delivered_tokens) + new_tokens)

    async def _play(self, choices: "Sequence[_ScriptedChoice | ScriptChoice]") -> AsyncGenerator[Piece, None]:
        clock = asyncio.get_running_loop().time
        rate = self._options.tokens_per_s
        first_at = clock() + self._options.time_to_first_token_s
        await asyncio.sleep(self._options.time_to_first_token_s)
        played, due = 0, 1
        while True:
            for choice in choices:
                piece = choice.advance(due - played)
                if piece:
                    yield piece
            if all(choice.finished for choice in choices):
                return
            played = due
            if rate:
                next_at = max(first_at + played / rate, clock() + self._options.tick_s)
                await asyncio.sleep(next_at - clock())
                due = min(1 + int((clock() - first_at) * rate), played + self._options.tokens_per_piece)
            else:
                await asyncio.sleep(0)
                due = played + self._options.tokens_per_piece


class _ScriptedChoice:
    """One choice's place in its script."""

    def __init__(self, request: GenerationRequest, index: int, prompt: str, budget: int) -> None:
        sampling = request.sampling
        delivered, self._delivered_tokens = request.delivered_of(index)
        self._key = _script_key(prompt, sampling.seed or 0, index)
        self._next, self._rest = self._resume(delivered)
        self._budget = budget
        self._at_end: FinishReason = "length" if sampling.max_tokens else "stop"
        self._logprobs = sampling.logprobs
        self._text = ChoiceText(index, sampling.stop, delivered=delivered)

    @property
    def finished(self) -> bool:
        return self._text.finished

    @property
    def new_tokens(self) -> int:
        return self._text.tokens

    def advance(self, tokens: int) -> Piece | None:
        """The piece that so many further tokens give, if any."""
        if self._text.finished:
            return None
        end = min(self._next + tokens, self._budget)
        texts = [_token(self._key, position) for position in range(self._next, end)]
        logprobs = (
            [_logprob(self._key, position, text) for position, text in enumerate(texts, self._next)]
            if self._logprobs
            else ()
        )
        if texts and self._rest:
            texts[0], self._rest = self._rest, ""
        self._next = end
        return self._text.write(texts, logprobs, end=self._at_end if end == self._budget else None)

    def _resume(self, delivered: str) -> tuple[int, str]:
        """The position of the first token that the client lacks, and the part of it
        that it lacks, if it has the other part.
        """
        position = length = 0
        while length < len(delivered):
            token = _token(self._key, position)
            if not delivered.startswith(token[: len(delivered) - length], length):
                return self._delivered_tokens, ""  # another engine wrote this: go on by count
            length += len(token)
            if length > len(delivered):
                return position, token[len(delivered) - length :]
            position += 1
        return position, ""


def _script_key(prompt: str, seed: int, choice: int) -> int:
    return zlib.crc32(f"{seed}/{choice}/{prompt}".encode())


def _token(key: int, position: int) -> str:
    word = WORDS[_mix(key, position) % len(WORDS)]
    return f" {word}" if position else word


def _logprob(key: int, position: int, token: str) -> TokenLogprob:
    return TokenLogprob(token=token, logprob=-(_mix(key, position) >> 16 & 0xFF) / 256)


def _mix(key: int, position: int) -> int:
    return zlib.crc32(position.to_bytes(4, "little"), key)
