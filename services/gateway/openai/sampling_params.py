"""From a client's body to what is asked of a model: what the model cannot honour is
refused by name, never left out.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from schemas.errors import ErrorCode
from schemas.inference import Lane, Sampling
from services.common.http.problems import malformed
from services.common.model_catalogue import ModelConfig
from services.gateway.openai.requests import ChatBody, CommonBody, CompletionBody

_NEUTRAL: Mapping[str, Any] = {
    "temperature": 1,
    "top_p": 1,
    "n": 1,
    "presence_penalty": 0,
    "frequency_penalty": 0,
    "top_logprobs": 0,
}
"""Values that ask for nothing: what OpenAI's API does by itself."""
_SAMPLING_FIELDS = (
    "temperature",
    "top_p",
    "max_tokens",
    "n",
    "stop",
    "seed",
    "presence_penalty",
    "frequency_penalty",
    "logit_bias",
)


def chat_sampling(body: ChatBody, model: ModelConfig, *, max_choices: int) -> Sampling:
    """How to choose the tokens of a chat.

    Raises:
        ProblemError: 400, the field that the model cannot honour in `param`.
    """
    if body.functions is not None or body.function_call is not None:
        raise malformed(
            "functions and function_call are not served; send tools and tool_choice.", "functions"
        )
    if body.top_logprobs and not body.logprobs:
        raise malformed("top_logprobs needs logprobs to be true.", "top_logprobs")
    _check(model, "chat", _asked_of_chat(body))
    _check_text_only(body)
    max_tokens = body.max_completion_tokens or body.max_tokens
    return _sampling(
        body,
        model,
        max_choices=max_choices,
        max_tokens=max_tokens,
        logprobs=bool(body.logprobs),
        top_logprobs=body.top_logprobs or 0,
        response_format=_response_format(body),
        tools=tuple(body.tools or ()),
        tool_choice=body.tool_choice if body.tools else None,
        parallel_tool_calls=body.parallel_tool_calls if body.tools else None,
    )


def completion_sampling(body: CompletionBody, model: ModelConfig, *, max_choices: int) -> Sampling:
    """How to choose the tokens of a text completion.

    Raises:
        ProblemError: 400, the field that the model cannot honour in `param`.
    """
    if body.echo:
        raise malformed("echo is not served.", "echo")
    if body.suffix:
        raise malformed("suffix is not served.", "suffix")
    if body.best_of is not None and body.best_of != (body.n or 1):
        raise malformed("best_of other than n is not served.", "best_of")
    asked = {"logprobs": body.logprobs is not None, "top_logprobs": bool(body.logprobs)}
    _check(model, "completion", [*_asked(body), *(name for name, wanted in asked.items() if wanted)])
    return _sampling(
        body,
        model,
        max_choices=max_choices,
        max_tokens=body.max_tokens,
        logprobs=body.logprobs is not None,
        top_logprobs=body.logprobs or 0,
    )


def lane_of(body: CommonBody, model: ModelConfig) -> Lane:
    """The lane that a service tier stands for.

    Raises:
        ProblemError: 400, the model does not offer it.
    """
    if body.service_tier in (None, "auto"):
        return Lane.INTERACTIVE if Lane.INTERACTIVE in model.lanes else Lane(model.lanes[0])
    lane = Lane.BATCH if body.service_tier == "flex" else Lane.INTERACTIVE
    if lane not in model.lanes:
        raise malformed(
            f"The model {model.name} is not served in the {lane} lane, which service_tier "
            f"{body.service_tier!r} means.",
            "service_tier",
        )
    return lane


def _sampling(
    body: CommonBody, model: ModelConfig, *, max_choices: int, max_tokens: int | None, **rest: Any
) -> Sampling:
    n = body.n or 1
    if n > max_choices:
        raise malformed(f"n is {n}; at most {max_choices} choices are given.", "n")
    if max_tokens is not None and max_tokens > model.context_length:
        raise malformed(
            f"max_tokens is {max_tokens}; the context of {model.name} has {model.context_length} tokens.",
            "max_tokens",
        )
    return Sampling(
        temperature=body.temperature,
        top_p=body.top_p,
        max_tokens=max_tokens,
        n=n,
        stop=body.stops,
        seed=body.seed,
        presence_penalty=body.presence_penalty,
        frequency_penalty=body.frequency_penalty,
        logit_bias=body.logit_bias or None,
        **rest,
    )


def _check(model: ModelConfig, kind: str, asked: Iterable[str]) -> None:
    if kind not in model.capabilities:
        raise malformed(
            f"The model {model.name} serves no {kind} requests.", "model", ErrorCode.UNSUPPORTED_VALUE
        )
    for name in asked:
        if name not in model.capabilities:
            raise malformed(
                f"The model {model.name} cannot honour {name}; leave it out or choose another model.",
                name.split(".")[0],
                ErrorCode.UNSUPPORTED_PARAMETER,
            )


def _asked(body: CommonBody) -> Iterator[str]:
    for name in _SAMPLING_FIELDS:
        value = getattr(body, name)
        if value is not None and value != _NEUTRAL.get(name) and value not in ([], {}):
            yield name


def _asked_of_chat(body: ChatBody) -> Iterator[str]:
    yield from _asked(body)
    wanted = {
        "max_tokens": body.max_completion_tokens,
        "logprobs": body.logprobs,
        "top_logprobs": body.top_logprobs,
        "tools": body.tools,
        "tool_choice": body.tools and body.tool_choice not in (None, "auto"),
        "parallel_tool_calls": body.tools and body.parallel_tool_calls is not None,
    }
    yield from (name for name, value in wanted.items() if value)
    if body.response_format and body.response_format.type != "text":
        yield f"response_format.{body.response_format.type}"


def _check_text_only(body: ChatBody) -> None:
    for place, message in enumerate(body.messages):
        content = message.get("content")
        if content is None and message["role"] != "assistant":
            raise malformed(
                f"messages[{place}] has no content; only an assistant's may lack it.",
                "messages",
                ErrorCode.MISSING_PARAMETER,
            )
        if isinstance(content, list):
            for part in content:
                if part["type"] != "text" or "text" not in part:
                    raise malformed(
                        f"messages[{place}] has a content part of type {part['type']!r}; only text can be "
                        "read.",
                        "messages",
                    )


def _response_format(body: ChatBody) -> dict[str, Any] | None:
    if body.response_format is None or body.response_format.type == "text":
        return None
    return body.response_format.model_dump(exclude_none=True)
