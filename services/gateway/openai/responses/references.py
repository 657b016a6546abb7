"""References to items of earlier responses, which clients send in their place."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from schemas.inference import Delivered
from services.common.requests.request_ids import request_id_of

_ID = re.compile(r"(msg|fc)_([0-9a-f]{32})(?:_(\d{1,3}))?", re.ASCII)


def referenced_request(item: Mapping[str, Any]) -> str | None:
    """The id of the request whose answer an item refers to; None where it is no
    reference, or none that is known.
    """
    found = _ID.fullmatch(str(item.get("id"))) if item.get("type") == "item_reference" else None
    return request_id_of(found[2]) if found else None


def referenced_item(item: Mapping[str, Any], choices: Sequence[Delivered]) -> dict[str, Any] | None:
    """The item that a reference stands for, from the answer's choices; None where the
    answer has no such.
    """
    found = _ID.fullmatch(str(item.get("id")))
    if found is None or not choices:
        return None
    answer, number = choices[0], int(found[3] or 0)
    if found[1] == "msg":
        return {"type": "message", "role": "assistant", "content": answer.text} if not number else None
    if number >= len(answer.tool_calls):
        return None
    call = answer.tool_calls[number]
    return {
        "type": "function_call",
        "call_id": call["id"],
        "name": call["function"]["name"],
        "arguments": call["function"]["arguments"],
    }
