"""A conversation with tools as messages of text, which any chat template can render."""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from services.common.requests.tool_calls import arguments_json
from services.inference.engines.base import InvalidRequestError
from services.inference.engines.formats.chat_text import plain_text
from services.inference.engines.formats.tools import CALL_BEGINS, CALL_ENDS, Function, WantedTools

Message = dict[str, str]

_INTRODUCTION = """# Tools

You may call one or more functions to assist with the user query.

You are provided with function signatures within <tools></tools> XML tags:
<tools>
{signatures}
</tools>

For each function call, return a json object with function name and arguments within \
<tool_call></tool_call> XML tags:
<tool_call>
{{"name": <function-name>, "arguments": <args-json-object>}}
</tool_call>"""


def text_messages(messages: Sequence[Mapping[str, Any]], tools: WantedTools | None) -> list[Message]:
    """The conversation with roles system, user and assistant only.

    Results of tools come from the user, as templates know no other role for them;
    several in a row are one message.

    Raises:
        InvalidRequestError: a content part is not text, or a call in the history is
            none.
    """
    rendered: list[Message] = []
    after_result = False
    for message in messages:
        one = _rendered(message)
        is_result = message["role"] == "tool"
        if is_result and after_result:
            rendered[-1]["content"] += "\n" + one["content"]
        else:
            rendered.append(one)
        after_result = is_result
    if tools is not None:
        _introduce(rendered, tools.shown)
    return rendered


def _rendered(message: Mapping[str, Any]) -> Message:
    role, content = message["role"], plain_text(message)
    match role:
        case "developer":
            return {"role": "system", "content": content}
        case "tool":
            return {"role": "user", "content": f"<tool_response>\n{content}\n</tool_response>"}
        case "assistant" if calls := message.get("tool_calls"):
            lines = [content] if content else []
            return {"role": role, "content": "\n".join(lines + [_call(call) for call in calls])}
    return {"role": role, "content": content}


def _call(call: Mapping[str, Any]) -> str:
    function = call.get("function")
    if not isinstance(function, Mapping) or not isinstance(function.get("name"), str):
        raise InvalidRequestError("a tool call in messages has no function.name", param="messages")
    name = json.dumps(function["name"], ensure_ascii=False)
    arguments = arguments_json(function.get("arguments"))
    return f'{CALL_BEGINS}\n{{"name": {name}, "arguments": {arguments}}}\n{CALL_ENDS}'


def _introduce(messages: list[Message], functions: Iterable[Function]) -> None:
    signatures = "\n".join(_signature(function) for function in functions)
    introduction = _INTRODUCTION.format(signatures=signatures)
    if messages and messages[0]["role"] == "system":
        messages[0]["content"] += "\n\n" + introduction
    else:
        messages.insert(0, {"role": "system", "content": introduction})


def _signature(function: Function) -> str:
    signature = {"name": function.name, "description": function.description, "parameters": function.schema}
    return json.dumps({"type": "function", "function": signature}, ensure_ascii=False)
