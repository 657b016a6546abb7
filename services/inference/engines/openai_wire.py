"""OpenAI's request and streaming formats, as an upstream speaks them."""

import json
import math
from collections.abc import Iterator, Mapping
from typing import Any, get_args

from services.common.requests.model_catalogue import SamplingDefaults
from services.inference.engines.base import (
    EngineFailedError,
    FinishReason,
    GenerationRequest,
    Piece,
    TokenLogprob,
    Usage,
)
from services.inference.engines.formats.chat_text import plain_text
from services.inference.engines.formats.upstream_calls import UpstreamCalls

_CHARACTERS_PER_TOKEN = 4
"""For upstreams that report no usage; OpenAI's rule of thumb for English."""
_MOST_TOKENS = 10**9


def request_fields(
    request: GenerationRequest, *, defaults: SamplingDefaults, max_tokens: int | None, max_tokens_field: str
) -> dict[str, Any]:
    """The request's body, without the model's name; what the client left open stays
    open, unless the models file sets a default.
    """
    sampling = request.sampling
    fields: dict[str, Any] = {
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        max_tokens_field: max_tokens,
        "stop": list(sampling.stop),
        "seed": sampling.seed,
        "presence_penalty": sampling.presence_penalty,
        "frequency_penalty": sampling.frequency_penalty,
        "logit_bias": dict(sampling.logit_bias),
        "n": sampling.n if sampling.n > 1 else None,
        "response_format": sampling.response_format,
        "tools": list(sampling.tools),
        "tool_choice": sampling.tool_choice,
        "parallel_tool_calls": sampling.parallel_tool_calls,
        "top_k": sampling.top_k,
        "min_p": sampling.min_p,
        "repetition_penalty": sampling.repetition_penalty,
    }
    given = {
        name: value
        for name, value in fields.items()
        if value not in (None, [], {}, 0.0)
        or (value == 0 and name in {"temperature", "top_p", "seed", "top_k", "min_p"})
    }
    preset = {name: getattr(defaults, name) for name in defaults.model_fields_set}
    return preset | given | _prompt_fields(request)


def _prompt_fields(request: GenerationRequest) -> dict[str, Any]:
    delivered, _ = request.delivered_of(0)
    sampling = request.sampling
    if request.kind == "completion":
        return {"prompt": request.prompt + delivered} | (
            {"logprobs": sampling.top_logprobs} if sampling.logprobs else {}
        )
    messages = [dict(message) for message in request.messages]
    if delivered:
        messages.append({"role": "assistant", "content": delivered})
    return {"messages": messages} | (
        {"logprobs": True, "top_logprobs": sampling.top_logprobs} if sampling.logprobs else {}
    )


class ChunkReader:
    """Reads one stream's events into pieces, and knows whether all of it has come."""

    def __init__(self, request: GenerationRequest) -> None:
        self._request = request
        self._unfinished = set(range(request.sampling.n))
        self._calls: dict[int, UpstreamCalls] = {}
        self._counted = 0
        self._reported: Mapping[str, int] | None = None
        self._done = False

    @property
    def complete(self) -> bool:
        """Every choice came to an end; anything less is a broken stream, however
        politely it closed.
        """
        return not self._unfinished

    @property
    def done(self) -> bool:
        """The upstream has said its last word."""
        return self._done

    @property
    def usage_reported(self) -> bool:
        """Whether the upstream said what it counted."""
        return self._reported is not None

    def read(self, data: str) -> list[Piece]:
        """The pieces in one event.

        Raises:
            EngineFailedError: the event is not a chunk, or it reports an error.
        """
        if data.strip() == "[DONE]":
            self._done = True
            return []
        try:
            chunk = json.loads(data)
            if chunk.get("error"):
                raise EngineFailedError(f"the upstream broke off: {error_message(chunk)}")
            self._reported = _counts(chunk.get("usage")) or self._reported
            return [piece for choice in chunk.get("choices") or () if (piece := self._piece(choice))]
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            raise EngineFailedError(
                f"the upstream sent something that is no chunk: {data[:200]!r}"
            ) from error

    def usage(self) -> Usage:
        """What the upstream counted, or an estimate where it does not say."""
        delivered = sum(self._request.delivered_tokens)
        if not self._reported:
            return Usage(
                prompt_tokens=_estimated_prompt_tokens(self._request),
                completion_tokens=delivered + self._counted,
            )
        return Usage(
            prompt_tokens=max(self._reported["prompt_tokens"] - delivered, 0),
            completion_tokens=delivered + self._reported["completion_tokens"],
            cached_tokens=self._reported["cached_tokens"],
        )

    def _piece(self, choice: Mapping[str, Any]) -> Piece | None:
        index = int(choice["index"])
        delta = choice.get("delta") or {}
        text = choice.get("text") or delta.get("content") or delta.get("refusal") or ""
        calls = self._calls.setdefault(index, UpstreamCalls(f"{self._request.request_id[-24:]}_{index}"))
        tool_calls = calls.read(delta.get("tool_calls") or ())
        logprobs = tuple(_logprobs(choice.get("logprobs") or {}))
        reason = _finish_reason(choice.get("finish_reason"))
        if reason == "stop" and calls.begun:
            reason = "tool_calls"
        if reason:
            self._unfinished.discard(index)
        if not (text or tool_calls or reason):
            return None
        tokens = len(logprobs) or (1 if text or tool_calls else 0)
        self._counted += tokens
        return Piece(
            index=index,
            text=text,
            tokens=tokens,
            logprobs=logprobs or None,
            finish_reason=reason,
            tool_calls=tool_calls,
        )


def _counts(usage: object) -> dict[str, int] | None:
    """What an upstream says that it counted; None where that is no count. Requests are
    paid for by it: less than nothing would fill a budget up.
    """
    if not isinstance(usage, Mapping) or not usage:
        return None
    details = usage.get("prompt_tokens_details")
    given = {
        "prompt_tokens": usage.get("prompt_tokens") or 0,
        "completion_tokens": usage.get("completion_tokens") or 0,
        "cached_tokens": (details.get("cached_tokens") if isinstance(details, Mapping) else 0) or 0,
    }
    if not all(isinstance(one, int | float) and 0 <= one <= _MOST_TOKENS for one in given.values()):
        return None
    return {name: int(one) for name, one in given.items()}


def error_message(body: object) -> str:
    """The message of an error body, in whatever form the upstream gives it."""
    error = body.get("error", body) if isinstance(body, Mapping) else body
    if isinstance(error, Mapping):
        error = error.get("message") or error.get("detail") or error
    return str(error)[:500]


def _finish_reason(reason: str | None) -> FinishReason | None:
    if not reason:
        return None
    known: dict[str, FinishReason] = {name: name for name in get_args(FinishReason)}
    return known.get(reason, "stop")


def _logprobs(given: Mapping[str, Any]) -> Iterator[TokenLogprob]:
    for entry in given.get("content") or ():
        top = tuple((other["token"], other["logprob"]) for other in entry.get("top_logprobs") or ())
        yield TokenLogprob(token=entry["token"], logprob=entry["logprob"], top=top)
    tops = given.get("top_logprobs") or ()
    for position, (token, logprob) in enumerate(
        zip(given.get("tokens") or (), given.get("token_logprobs") or (), strict=False)
    ):
        top = tuple(tops[position].items()) if position < len(tops) and tops[position] else ()
        yield TokenLogprob(token=token, logprob=logprob if logprob is not None else 0.0, top=top)


def _estimated_prompt_tokens(request: GenerationRequest) -> int:
    characters = len(request.prompt) + sum(len(plain_text(message)) for message in request.messages)
    return math.ceil(characters / _CHARACTERS_PER_TOKEN)
