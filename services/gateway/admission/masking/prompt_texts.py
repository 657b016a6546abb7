"""The texts of a request that a model reads, and the request with other ones. Pure."""

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from schemas.inference import InferenceRequested
from services.common.requests.masking.texts import visible
from services.gateway.admission.inspection.passages import strings_in

Change = Callable[[str, str], str]
"""Role and text → the text in its stead."""

_NAMES = frozenset({"id", "type", "name"})
"""Fields of a call by which a model and a client know it."""


class PromptText(NamedTuple):
    """A text, and whose it is: user, assistant, tool, or the operator's (system)."""

    role: str
    text: str


def texts_in(request: InferenceRequested) -> list[PromptText]:
    """All texts: messages with their parts and the arguments of calls, the prompt, stop
    strings, and what tools and response formats say of themselves.
    """
    found: list[PromptText] = []

    def note(role: str, text: str) -> str:
        found.append(PromptText(role, text))
        return text

    changed_texts(request, note)
    return found


def with_texts(request: InferenceRequested, texts: Iterator[str]) -> InferenceRequested:
    """The request with these texts, as many and in the order of `texts_in`."""
    return changed_texts(request, lambda _role, _text: next(texts))


def changed_texts(request: InferenceRequested, change: Change) -> InferenceRequested:
    """The request with each text changed."""
    sampling = request.sampling
    return request.model_copy(
        update={
            "messages": tuple([_message(message, change) for message in request.messages]),
            "prompt": change("user", request.prompt) if request.prompt else "",
            "sampling": sampling.model_copy(
                update={
                    "stop": tuple([change("user", stop) for stop in sampling.stop]),
                    "tools": tuple([_described(tool, change) for tool in sampling.tools]),
                    "response_format": _described(sampling.response_format, change),
                }
            ),
        }
    )


def other_strings(request: InferenceRequested) -> list[str]:
    """What `texts_in` leaves alone, as few texts: names, ids, and all of the tools and of
    the response format. Nobody masks it, since answers are made of it, but a request that
    is to hold no secret holds none there either.
    """
    sampling = request.sampling
    named = [
        str(message[name])
        for message in request.messages
        for name in ("name", "tool_call_id")
        if message.get(name)
    ]
    calls = [one for message in request.messages for one in strings_in(message.get("tool_calls"))]
    tools = [*strings_in(sampling.tools), *strings_in(sampling.tool_choice)]
    found = ["\n".join(some) for some in (named, calls, tools, [*strings_in(sampling.response_format)])]
    return [one for one in found if one]


def _message(message: Mapping[str, Any], change: Change) -> dict[str, Any]:
    role = str(message.get("role") or "user")
    changed = dict(message)
    if message.get("content"):
        changed["content"] = _content(message["content"], role, change)
    if message.get("tool_calls"):
        changed["tool_calls"] = [_call(call, role, change) for call in message["tool_calls"]]
    return changed


def _content(content: Any, role: str, change: Change) -> Any:
    """A content with its texts changed. Several parts are a text besides, as models read
    them in one: where that shows less, as a value is cut over two of them, only that is
    what they get.
    """
    if isinstance(content, str):
        return change(role, content)
    texts = [_text_of(part) for part in content]
    whole = change(role, "".join(filter(None, texts))) if len(texts) > 1 else None
    changed = [text if text is None else change(role, text) for text in texts]
    shown = sum([visible(text) for text in changed if text is not None])
    if whole is not None and None not in texts and visible(whole) < shown:
        return whole
    return [
        part if text is None else {**part, "text": text} for part, text in zip(content, changed, strict=True)
    ]


def _text_of(part: Any) -> str | None:
    text = part.get("text") if isinstance(part, Mapping) else None
    return text if isinstance(text, str) else None


def _call(call: Any, role: str, change: Change) -> Any:
    """A call with all of its strings changed but for what names it: what clients add, and
    calls of other forms, go to the model as they are.
    """
    if not isinstance(call, Mapping):
        return call
    return {name: one if name in _NAMES else _argument(name, one, role, change) for name, one in call.items()}


def _argument(name: str, value: Any, role: str, change: Change) -> Any:
    if name == "arguments" and isinstance(value, str):
        return _json(value, role, change)
    if isinstance(value, Mapping) and name != "arguments":
        return _call(value, role, change)
    return _strings(value, role, change)


def _json(text: str, role: str, change: Change) -> str:
    """JSON with its strings changed, as it stands where none is; what is no JSON is a
    text like any other. The whole is a text besides: only there it is seen that a string
    is a password, by the name before it.
    """
    whole = change(role, text)
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return whole
    changed = _strings(value, role, change)
    return text if changed == value else json.dumps(changed, ensure_ascii=False)


def _strings(value: Any, role: str, change: Change) -> Any:
    if isinstance(value, str):
        return change(role, value)
    if isinstance(value, Mapping):
        return {name: _strings(one, role, change) for name, one in value.items()}
    if isinstance(value, list):
        return [_strings(one, role, change) for one in value]
    return value


def _described(value: Any, change: Change) -> Any:
    """A tool or a schema with its descriptions changed; names and values stay, as they
    are what answers are made of.
    """
    if isinstance(value, Mapping):
        return {
            name: change("system", one)
            if name == "description" and isinstance(one, str)
            else _described(one, change)
            for name, one in value.items()
        }
    if isinstance(value, list | tuple):
        return [_described(one, change) for one in value]
    return value
