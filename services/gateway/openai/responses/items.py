"""The items of a response's input as messages of a chat."""

from collections.abc import Mapping, Sequence
from typing import Any

from schemas.errors import ErrorCode
from services.common.http.problems import ProblemError, malformed

Item = Mapping[str, Any]
Message = dict[str, Any]

_ROLES = frozenset({"user", "system", "developer", "assistant"})
_TEXT_PARTS = frozenset({"input_text", "output_text", "text"})


def messages_of(given: str | Sequence[Item], instructions: str | None) -> list[Message]:
    """The conversation that an input is.

    Calls in a row, and those behind an assistant's text, are one message of its.

    Raises:
        ProblemError: 400, an item is of another kind, or lacks what it needs.
    """
    messages: list[Message] = [{"role": "system", "content": instructions}] if instructions else []
    if isinstance(given, str):
        return [*messages, {"role": "user", "content": given}]
    for place, item in enumerate(given):
        _add(messages, item, place)
    return messages


def _add(messages: list[Message], item: Item, place: int) -> None:
    match item.get("type", "message"):
        case "message":
            messages.append(_message(item, place))
        case "function_call":
            if not (messages and messages[-1]["role"] == "assistant"):
                messages.append({"role": "assistant", "content": None})
            messages[-1].setdefault("tool_calls", []).append(_call(item, place))
        case "function_call_output":
            call_id = _required(item, "call_id", place)
            output = _text(item.get("output"), place, "output")
            messages.append({"role": "tool", "tool_call_id": call_id, "content": output})
        case kind:
            raise _unserved(f"input[{place}] is of type {kind!r}, which is not served; send it as text.")


def _message(item: Item, place: int) -> Message:
    role = item.get("role")
    if not isinstance(role, str) or role not in _ROLES:
        raise malformed(f"input[{place}].role is {role!r}; it must be one of {sorted(_ROLES)}.", "input")
    return {"role": role, "content": _text(item.get("content"), place, "content")}


def _call(item: Item, place: int) -> dict[str, Any]:
    return {
        "id": _required(item, "call_id", place),
        "type": "function",
        "function": {
            "name": _required(item, "name", place),
            "arguments": _required(item, "arguments", place),
        },
    }


def _required(item: Item, name: str, place: int) -> str:
    value = item.get(name)
    if not isinstance(value, str):
        raise malformed(
            f"input[{place}].{name} is {value!r}; it must be text.", "input", ErrorCode.MISSING_PARAMETER
        )
    return value


def _text(content: object, place: int, name: str) -> str:
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        raise malformed(f"input[{place}].{name} must be text or a list of parts.", "input")
    texts = []
    for part in content:
        kind = part.get("type") if isinstance(part, dict) else None
        text = part.get("refusal" if kind == "refusal" else "text") if isinstance(part, dict) else None
        if kind not in (*_TEXT_PARTS, "refusal") or not isinstance(text, str):
            raise _unserved(f"input[{place}] has a part of type {kind!r}; only text can be read.")
        texts.append(text)
    return "".join(texts)


def _unserved(message: str) -> ProblemError:
    return malformed(message, "input", ErrorCode.UNSUPPORTED_VALUE)
