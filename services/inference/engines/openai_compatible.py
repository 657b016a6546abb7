"""Models behind any server that speaks OpenAI's API: vLLM, OpenRouter, llama-server,
OpenAI itself.

Until the first token, what may pass (connection errors, 408, 409, 425, 429, 5xx) is
tried again, as long after as the upstream asks for. Once a token went out nothing is: a
stream that breaks off, or closes before every choice has its finish reason, is an
error. Continuation after a failover appends what was delivered as an assistant message
(to the prompt, for completions). Whether an upstream then goes on behind it, or begins
a new answer, is its own affair: vLLM, OpenRouter and llama-server go on, OpenAI does
not. So the models file must say `continuation: approximate` where it works; without it
a broken stream stays broken.
"""

import json
import os
import random
import time
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, Literal

import aiohttp
import stamina
import structlog
from pydantic import BaseModel, ConfigDict, Field

from schemas.errors import ErrorCode
from services.common.errors import ConfigError
from services.common.process.egress import AddressRefusedError, Egress
from services.common.process.secret_files import secret_of
from services.common.requests.model_catalogue import ModelConfig
from services.inference.domain.sse import EventTooLargeError, SseDecoder
from services.inference.engines.base import (
    ContextLengthError,
    ContinuationError,
    EngineFailedError,
    GenerationRequest,
    InvalidRequestError,
    Piece,
    Usage,
)
from services.inference.engines.openai_wire import ChunkReader, error_message, request_fields

_log = structlog.get_logger(__name__)

_RETRIED = frozenset({408, 409, 425, 429})
_OUR_FAULT = frozenset({401, 402, 403, 404, 405, 407})
"""The upstream refuses this installation, not this client's request."""
_ERROR_BODY_BYTES = 64 * 1024


class OpenAICompatibleOptions(BaseModel):
    """The engine's options in the models file."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    base_url: str = Field(pattern=r"^https?://", description="Up to and with /v1.")
    model: str = Field(description="The upstream's name of the model.")
    api_key_env: str = Field(
        default="",
        description="The environment variable that holds the API key, or with _FILE behind its name, "
        "names a file that does; empty: none is sent.",
    )
    total_timeout_s: float = Field(default=600.0, gt=0, description="For all attempts and the whole stream.")
    connect_timeout_s: float = Field(default=10.0, gt=0)
    silence_timeout_s: float = Field(default=60.0, gt=0, description="The longest pause between two bytes.")
    attempts: int = Field(default=4, ge=1)
    wait_max_s: float = Field(
        default=5.0, ge=0, description="The longest pause between attempts where the upstream asks for none."
    )
    max_tokens_field: Literal["max_tokens", "max_completion_tokens"] = "max_tokens"
    stream_usage: bool = Field(
        default=True, description="Ask for usage; false for upstreams that refuse stream_options."
    )
    extra_body: dict[str, Any] = Field(default_factory=dict, description="Further fields of every request.")


class _TryAgainError(EngineFailedError):
    """Nothing was generated yet, and another attempt may do better, after `after_s`
    seconds if the upstream said so.
    """

    def __init__(self, message: str, *, after_s: float | None = None) -> None:
        super().__init__(message)
        self.after_s = after_s

    def __repr__(self) -> str:
        """What the log of retries tells: an upstream's own words may quote a prompt."""
        return f"{type(self).__name__}(after_s={self.after_s})"


@dataclass(slots=True)
class _OpenStream:
    """An upstream's answer whose first pieces have come."""

    response: aiohttp.ClientResponse
    decoder: SseDecoder
    reader: ChunkReader
    pieces: list[Piece] = field(default_factory=list)
    failure: EngineFailedError | None = None
    key: str = field(default="", repr=False)

    async def read(self) -> bool:
        """Reads on until there are pieces; False at the end.

        A failure waits until the pieces before it went out.
        """
        self.pieces = []
        while not self.pieces and not self.reader.done:
            if self.failure:
                raise self.failure
            chunk = await self.response.content.readany()
            if not chunk:
                return False
            self._take(chunk)
        return bool(self.pieces)

    def _take(self, chunk: bytes) -> None:
        try:
            for event in self.decoder.feed(chunk):
                self.pieces += self.reader.read(event)
        except EngineFailedError as error:
            self.failure = EngineFailedError(_without(self.key, str(error)))


class OpenAICompatibleEngine:
    """Passes requests on to an upstream."""

    def __init__(self, config: ModelConfig, options: OpenAICompatibleOptions) -> None:
        self.name = config.name
        self.slots = config.slots
        self.capabilities = config.capabilities
        self._config = config
        self._options = options
        self._session: aiohttp.ClientSession | None = None
        self._key = ""

    async def start(self) -> None:
        """Needs no answer from the upstream: it may come later than we do."""
        headers = {}
        if self._options.api_key_env:
            key = secret_of(os.environ, self._options.api_key_env)
            if not key:
                raise ConfigError(
                    f"model {self.name}: options.api_key_env names {self._options.api_key_env}, which is "
                    "not set: set it to the upstream's API key, or with _FILE behind it to a file that "
                    "holds it"
                )
            self._key = key
            headers["authorization"] = f"Bearer {key}"
        egress = Egress.of(os.environ.get("TOCSIN_EGRESS_ALLOWED", ""))
        self._session = aiohttp.ClientSession(headers=headers, connector=egress.connector(limit=self.slots))

    async def close(self) -> None:
        """Close every connection; streams that still run break off."""
        if self._session:
            await self._session.close()

    async def healthy(self) -> bool:
        """Between start and close; asking the upstream would cost it requests that
        nobody sent.
        """
        return self._session is not None and not self._session.closed

    async def generate(self, request: GenerationRequest) -> AsyncGenerator[Piece | Usage, None]:
        """See `Engine.generate`."""
        budget = self._remaining_budget(request)
        if not request.open_choices:
            yield ChunkReader(request).usage()
            return
        if budget is not None and budget <= 0:
            yield Piece(index=0, text="", finish_reason="length")
            yield ChunkReader(request).usage()
            return
        stream = await self._open(request, self._body(request, budget))
        try:
            yield stream.reader.usage()
            more = True
            while more:
                for piece in stream.pieces:
                    yield piece
                more = await _read_on(stream)
        finally:
            stream.response.close()
        if not stream.reader.complete:
            raise EngineFailedError("the upstream closed the stream before the answer was complete")
        if not stream.reader.usage_reported:
            _log.warning("upstream_reported_no_usage", model=self.name, request_id=request.request_id)
        yield stream.reader.usage()

    def _remaining_budget(self, request: GenerationRequest) -> int | None:
        budget = request.sampling.max_tokens or self._config.default_max_tokens
        if any(request.delivered_calls):
            raise ContinuationError("tool calls cannot be continued: an upstream would begin them anew")
        if not any(request.delivered):
            return budget
        if self._config.continuation == "none":
            raise ContinuationError(
                f"model {self.name} is declared with continuation none: its upstream cannot go on behind "
                "a text"
            )
        if request.sampling.n > 1:
            raise ContinuationError(
                "several choices cannot be continued: an upstream takes one beginning only"
            )
        return budget and budget - request.delivered_of(0)[1]

    async def _open(self, request: GenerationRequest, body: dict[str, Any]) -> _OpenStream:
        options = self._options
        deadline = time.monotonic() + options.total_timeout_s

        def pause(error: Exception) -> bool | float:
            if not isinstance(error, _TryAgainError):
                return False
            if error.after_s is None:
                return True
            jittered = error.after_s * (1 + random.random() / 10)  # noqa: S311  spreads retries
            return jittered if time.monotonic() + jittered < deadline else False

        attempts = stamina.retry_context(
            on=pause,
            attempts=options.attempts,
            timeout=options.total_timeout_s,
            wait_initial=0.1,
            wait_max=options.wait_max_s,
            wait_jitter=0.1,
        )
        async for attempt in attempts:
            with attempt:
                return await self._attempt(request, body, timeout_s=max(deadline - time.monotonic(), 0.001))
        raise AssertionError("retry_context ends by returning or raising")

    async def _attempt(
        self, request: GenerationRequest, body: dict[str, Any], *, timeout_s: float
    ) -> _OpenStream:
        if self._session is None or self._session.closed:
            raise EngineFailedError(f"model {self.name} is not started")
        options = self._options
        path = "/chat/completions" if request.kind == "chat" else "/completions"
        timeout = aiohttp.ClientTimeout(
            total=timeout_s, sock_connect=options.connect_timeout_s, sock_read=options.silence_timeout_s
        )
        try:
            response = await self._session.post(
                options.base_url.rstrip("/") + path, json=body, timeout=timeout, allow_redirects=False
            )
        except aiohttp.ClientConnectorError as error:
            reason = f"the upstream cannot be reached: {error}"
            if isinstance(error.os_error, AddressRefusedError):
                raise EngineFailedError(reason) from error
            raise _TryAgainError(reason) from error
        except (aiohttp.ClientError, TimeoutError) as error:
            raise _TryAgainError(f"the upstream cannot be reached: {error or 'timed out'}") from error
        try:
            await _raise_for_refusal(response, self._key)
            stream = _OpenStream(response, SseDecoder(), ChunkReader(request), key=self._key)
            await _read_first_pieces(stream)
        except BaseException:
            response.close()
            raise
        return stream

    def _body(self, request: GenerationRequest, budget: int | None) -> dict[str, Any]:
        options = self._options
        fields = request_fields(
            request,
            defaults=self._config.sampling,
            max_tokens=budget,
            max_tokens_field=options.max_tokens_field,
        )
        usage = {"stream_options": {"include_usage": True}} if options.stream_usage else {}
        return {**options.extra_body, "model": options.model, "stream": True, **usage, **fields}


async def _read_first_pieces(stream: _OpenStream) -> None:
    try:
        begun = await _read_on(stream)
    except EngineFailedError as error:
        raise _TryAgainError(str(error)) from error
    if not begun:
        raise _TryAgainError("the upstream closed the stream before the first token")


async def _read_on(stream: _OpenStream) -> bool:
    """Reads the next pieces; False at the end.

    What happens behind a complete answer no longer matters.
    """
    try:
        return await stream.read()
    except (aiohttp.ClientError, TimeoutError, EventTooLargeError) as error:
        if stream.reader.complete:
            return False
        raise EngineFailedError(f"the upstream's stream broke off: {error or 'timed out'}") from error


def _without(key: str, text: str) -> str:
    """An upstream's words without our key: upstreams quote what they were sent, and
    clients and logs read what they say.
    """
    return text.replace(key, "[API key]") if key else text


async def _raise_for_refusal(response: aiohttp.ClientResponse, key: str) -> None:
    if response.status == 200:
        if response.content_type != "text/event-stream":
            raise EngineFailedError(f"the upstream answered with {response.content_type} instead of a stream")
        return
    try:
        text = _without(key, (await response.content.read(_ERROR_BODY_BYTES)).decode(errors="replace"))
    except (aiohttp.ClientError, TimeoutError):
        text = ""
    body = _parsed(text)
    message = error_message(body) if text else (response.reason or "")
    if response.status in _RETRIED or response.status >= 500:
        raise _TryAgainError(
            f"the upstream answered {response.status}: {message}", after_s=_retry_after_s(response)
        )
    if response.status < 400 or response.status in _OUR_FAULT:
        raise EngineFailedError(
            f"the upstream answered {response.status}; check base_url, model and API key of this model"
        )
    error = body.get("error") if isinstance(body, dict) else None
    param = error.get("param") if isinstance(error, dict) else None
    too_long = isinstance(error, dict) and error.get("code") == ErrorCode.CONTEXT_LENGTH_EXCEEDED
    refusal = ContextLengthError if too_long else InvalidRequestError
    raise refusal(message, param=param if isinstance(param, str) else None)


def _parsed(text: str) -> object:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def _retry_after_s(response: aiohttp.ClientResponse) -> float | None:
    milliseconds, after = response.headers.get("retry-after-ms", ""), response.headers.get("retry-after", "")
    try:
        return max(float(milliseconds) / 1000, 0.0)
    except ValueError:
        pass
    try:
        return max(float(after), 0.0)
    except ValueError:
        pass
    try:
        return max((parsedate_to_datetime(after).astimezone(UTC) - datetime.now(UTC)).total_seconds(), 0.0)
    except ValueError:
        return None
