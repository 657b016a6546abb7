"""Tool calls: their parts, as a stream brings them, joined to calls; and their arguments
as a prompt shows them.
"""

import json
from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import TypeAdapter

ToolCalls = tuple[dict[str, Any], ...]

_JSON: TypeAdapter[Any] = TypeAdapter(Any)


def join_tool_calls(calls: ToolCalls, parts: Iterable[Mapping[str, Any]]) -> ToolCalls:
    """The calls with what was added to them, by their index.

    A call's first part brings id and name, all bring arguments.
    """
    joined = {int(call["index"]): call for call in calls}
    for part in parts:
        index = int(part.get("index", len(joined)))
        call = joined.get(index) or {
            "index": index,
            "id": None,
            "type": "function",
            "function": {"name": None, "arguments": ""},
        }
        have, given = call["function"], part.get("function") or {}
        joined[index] = call | {
            "id": call["id"] or part.get("id"),
            "function": {
                "name": have["name"] or given.get("name"),
                "arguments": have["arguments"] + (given.get("arguments") or ""),
            },
        }
    return tuple(joined[index] for index in sorted(joined))


def rest_of_tool_calls(have: ToolCalls, whole: ToolCalls) -> ToolCalls | None:
    """The parts that make the whole of what was had; None where it is something else."""
    wanted = {call["index"]: call for call in whole}
    known = {call["index"]: call for call in have}
    if any(not _begins(wanted.get(index), call) for index, call in known.items()):
        return None
    parts = []
    for index, call in wanted.items():
        before = known.get(index)
        if before is None:
            parts.append(call)
        elif rest := call["function"]["arguments"][len(before["function"]["arguments"]) :]:
            parts.append({"index": index, "function": {"arguments": rest}})
    return tuple(parts)


def arguments_json(given: object) -> str:
    """Arguments as JSON; text that is none, as a cut answer leaves it, or that is nested
    200 deep, as a string in JSON. The same in every process, however deep its stack.
    """
    value = given or {}
    if isinstance(value, str):
        try:
            return json.dumps(_JSON.validate_json(value), ensure_ascii=False)
        except ValueError:
            pass
    return json.dumps(value, ensure_ascii=False)


def _begins(whole: Mapping[str, Any] | None, have: Mapping[str, Any]) -> bool:
    if whole is None or whole["id"] != have["id"]:
        return False
    return bool(
        whole["function"]["name"] == have["function"]["name"]
        and whole["function"]["arguments"].startswith(have["function"]["arguments"])
    )
