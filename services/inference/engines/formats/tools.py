"""Tools for models that generate plain text: which of them a request may call.

The form is Hermes': the tools stand in the system message, a call is
`<tool_call>` around `{"name": …, "arguments": …}`, its result `<tool_response>`. Qwen,
Hermes and others are trained on exactly this; any other model is told so, and its
grammar lets nothing else through.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from services.inference.engines.base import InvalidRequestError, Sampling

CALL_BEGINS = "<tool_call>"
CALL_ENDS = "</tool_call>"
MAX_CALLS = 8
"""So many calls one answer makes at most."""

_NAME = re.compile(r"[a-zA-Z0-9_.-]{1,64}", re.ASCII)
_NO_PARAMETERS: Mapping[str, Any] = {"type": "object", "properties": {}, "additionalProperties": False}


@dataclass(frozen=True, slots=True)
class Function:
    """A function that the model may call; `schema` is that of its arguments."""

    name: str
    description: str
    schema: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class WantedTools:
    """What a request says of tools: `shown` to the model, `callable` by it now.

    `must`: text alone is no answer. `most`: so many calls at most.
    """

    shown: tuple[Function, ...]
    callable: tuple[Function, ...]
    must: bool
    most: int


def wanted_tools(sampling: Sampling, *, several: bool) -> WantedTools | None:
    """The tools of a request; None where none may be called. `several` calls in one
    answer: what holds where the request leaves `parallel_tool_calls` out.

    Raises:
        InvalidRequestError: a tool is no function, two have one name, or `tool_choice`
            names one that is not there.
    """
    choice = sampling.tool_choice
    if not sampling.tools or choice == "none":
        return None
    functions = _functions(sampling.tools)
    wanted = sampling.parallel_tool_calls
    most = MAX_CALLS if (several if wanted is None else wanted) else 1
    if choice in (None, "auto", "required"):
        return WantedTools(functions, functions, must=choice == "required", most=most)
    if isinstance(choice, Mapping) and choice.get("type") == "allowed_tools":
        allowed = choice.get("allowed_tools") or choice
        names = [_name_of(one) for one in allowed.get("tools") or ()]
        return WantedTools(
            functions, _named(functions, names), must=allowed.get("mode") == "required", most=most
        )
    if not isinstance(choice, Mapping) or choice.get("type") != "function":
        raise InvalidRequestError(
            f"tool_choice is {choice!r}; it must be none, auto, required, a function or allowed_tools",
            param="tool_choice",
        )
    return WantedTools(functions, _named(functions, [_name_of(choice)]), must=True, most=1)


def _functions(tools: Sequence[Mapping[str, Any]]) -> tuple[Function, ...]:
    functions = tuple(_function(place, tool) for place, tool in enumerate(tools))
    names = [function.name for function in functions]
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise InvalidRequestError(f"two tools have the name {twice!r}: rename one", param="tools")
    return functions


def _function(place: int, tool: Mapping[str, Any]) -> Function:
    given = tool.get("function")
    if tool.get("type", "function") != "function" or not isinstance(given, Mapping):
        raise InvalidRequestError(
            f"tools[{place}] is of type {tool.get('type')!r}: this model calls functions only", param="tools"
        )
    name, schema = given.get("name"), given.get("parameters")
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise InvalidRequestError(
            f"tools[{place}].function.name is {name!r}; it must be 1 to 64 letters, digits, '_', '-' or '.'",
            param="tools",
        )
    if schema is not None and not isinstance(schema, Mapping):
        raise InvalidRequestError(
            f"tools[{place}].function.parameters is no JSON Schema object", param="tools"
        )
    description = given.get("description") or ""
    if not isinstance(description, str):
        raise InvalidRequestError(f"tools[{place}].function.description is no text", param="tools")
    return Function(name, description, schema or _NO_PARAMETERS)


def _name_of(choice: Mapping[str, Any]) -> object:
    function = choice.get("function")
    return (function if isinstance(function, Mapping) else choice).get("name")


def _named(functions: tuple[Function, ...], names: Sequence[object]) -> tuple[Function, ...]:
    found = tuple(function for function in functions if function.name in names)
    unknown = [name for name in names if name not in {function.name for function in functions}]
    if unknown or not found:
        raise InvalidRequestError(
            f"tool_choice names {unknown[0] if unknown else None!r}, which is not among the tools "
            f"{[function.name for function in functions]}",
            param="tool_choice",
        )
    return found
