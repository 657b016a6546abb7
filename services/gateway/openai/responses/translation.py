"""A response's body as a chat's: the same core answers both."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from pydantic import ValidationError

from schemas.errors import ErrorCode
from services.common.http.problems import ProblemError, malformed
from services.common.http.validation import problem_of
from services.gateway.openai.requests import ChatBody
from services.gateway.openai.responses.body import ResponsesBody
from services.gateway.openai.responses.items import Item, messages_of

_UNSERVED: Mapping[str, tuple[Any, str]] = {
    "previous_response_id": (None, "responses are not stored; send the whole conversation as input"),
    "conversation": (None, "conversations are not stored; send the whole conversation as input"),
    "prompt": (None, "prompts are not stored; send instructions and input"),
    "background": (False, "responses are not stored; stream it, or wait for it"),
    "max_tool_calls": (None, "there are no built-in tools"),
    "truncation": ("disabled", "send what fits into the model's context"),
}
"""Fields that need what is not here, what of them asks for nothing, and the way out."""
_RENAMED = {
    "messages": "input",
    "max_completion_tokens": "max_output_tokens",
    "max_tokens": "max_output_tokens",
    "response_format": "text",
    "logprobs": "include",
}
_LOGPROBS = "message.output_text.logprobs"


def chat_body_of(body: ResponsesBody, items: str | Sequence[Item]) -> ChatBody:
    """The chat that a response is; `items` is its input with references resolved.

    Raises:
        ProblemError: 400, a field asks for what is not served: `param` names it.
    """
    _refuse_unserved(body)
    logprobs = _LOGPROBS in (body.include or ()) or bool(body.top_logprobs)
    fields: dict[str, Any] = {
        "model": body.model,
        "messages": messages_of(items, body.instructions),
        "max_completion_tokens": body.max_output_tokens,
        "temperature": body.temperature,
        "top_p": body.top_p,
        "logprobs": logprobs or None,
        "top_logprobs": body.top_logprobs,
        "response_format": _response_format(body),
        "tools": [_tool(place, tool) for place, tool in enumerate(body.tools or ())] or None,
        "tool_choice": _tool_choice(body),
        "parallel_tool_calls": body.parallel_tool_calls,
        "service_tier": body.service_tier,
        "user": body.user or body.safety_identifier,
        "metadata": body.metadata,
        "stream": body.stream,
    }
    try:
        return ChatBody.model_validate({**(body.model_extra or {}), **fields})
    except ValidationError as error:
        raise in_the_clients_words(problem_of(error, json.dumps(fields).encode(), ChatBody)) from error


def in_the_clients_words(error: ProblemError) -> ProblemError:
    """A chat's problem with the names that a response's body has."""
    problem = error.problem
    errors = tuple((_renamed(name), text) for name, text in problem.errors)
    renamed = _RENAMED.get(problem.param or "")
    if renamed is None and errors == problem.errors:
        return error
    told = ProblemError(replace(problem, errors=errors))
    if problem.param and renamed:
        message = problem.message.replace(problem.param, renamed)
        told = ProblemError(replace(told.problem, message=message, param=renamed))
    told.request_id = error.request_id
    return told


def _renamed(field: str) -> str:
    name, dot, rest = field.partition(".")
    return _RENAMED.get(name, name) + dot + rest


def _refuse_unserved(body: ResponsesBody) -> None:
    for name, (neutral, way_out) in _UNSERVED.items():
        value = getattr(body, name)
        if value is not None and value != neutral:
            raise malformed(f"{name} is not served: {way_out}.", name, ErrorCode.UNSUPPORTED_PARAMETER)
    effort = (body.reasoning or {}).get("effort")
    if effort not in (None, "none"):
        raise malformed(
            "reasoning is not served; leave it out.", "reasoning", ErrorCode.UNSUPPORTED_PARAMETER
        )
    if body.text is not None and body.text.verbosity not in (None, "medium"):
        raise malformed(
            "text.verbosity is not served; leave it out.", "text", ErrorCode.UNSUPPORTED_PARAMETER
        )


def _response_format(body: ResponsesBody) -> dict[str, Any] | None:
    wanted = body.text.format if body.text else None
    if not wanted:
        return None
    if wanted.get("type") != "json_schema":
        return {"type": wanted.get("type")}
    schema = {key: value for key, value in wanted.items() if key != "type"}
    return {"type": "json_schema", "json_schema": schema}


def _tool(place: int, tool: Mapping[str, Any]) -> dict[str, Any]:
    if tool.get("type") != "function":
        raise malformed(
            f"tools[{place}] is of type {tool.get('type')!r}: there are no built-in tools; functions are "
            "served.",
            "tools",
            ErrorCode.UNSUPPORTED_VALUE,
        )
    given = ("name", "description", "parameters", "strict")
    function = {name: tool[name] for name in given if tool.get(name) is not None}
    return {"type": "function", "function": function}


def _tool_choice(body: ResponsesBody) -> Any:
    choice = body.tool_choice
    if not isinstance(choice, Mapping):
        return choice
    if choice.get("type") == "function":
        return _named(choice)
    if choice.get("type") == "allowed_tools":
        tools = [_named(tool) for tool in choice.get("tools") or () if isinstance(tool, Mapping)]
        return {"type": "allowed_tools", "allowed_tools": {"mode": choice.get("mode"), "tools": tools}}
    raise malformed(
        f"tool_choice is of type {choice.get('type')!r}: there are no built-in tools.",
        "tool_choice",
        ErrorCode.UNSUPPORTED_VALUE,
    )


def _named(choice: Mapping[str, Any]) -> dict[str, Any]:
    return {"type": "function", "function": {"name": choice.get("name")}}
