"""How many tokens a prompt has, as far as that can be told without its tokenizer. Pure.

Both answers are of one text: all that a model may be shown of a request, written as the
engines here write it. An upstream writes tools in a form of its own, which is taken to
be no longer.
"""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from schemas.inference import InferenceRequested
from services.common.requests.masking.texts import content_text
from services.common.requests.tool_calls import arguments_json

_CHARS_A_TOKEN = 4
_INTRODUCTION_CHARS = 512
"""What the engines say of tools in general."""
_EXPECTED_A_MESSAGE = 4
_MOST_A_MESSAGE = 16
"""What a chat template writes around a message, in tokens, ..."""
_MOST_A_TEMPLATE = 64
"""... and around all of them."""
_MOST_A_TOOL = 128
"""What the engines add to a tool that leaves out whatever it may: bytes."""


def expected_tokens(request: InferenceRequested) -> int:
    """About how many tokens a prompt has: four characters each."""
    characters = sum(map(len, _shown(request)))
    if request.sampling.tools:
        characters += _INTRODUCTION_CHARS
    return characters // _CHARS_A_TOKEN + _EXPECTED_A_MESSAGE * len(request.messages) + 1


def most_tokens(request: InferenceRequested) -> int:
    """No prompt has more tokens: a token is at least a byte of the text. That is two to
    five times what it will have.
    """
    tools = len(request.sampling.tools)
    size = sum(len(text.encode(errors="surrogatepass")) for text in _shown(request))
    if tools:
        size += _INTRODUCTION_CHARS + _MOST_A_TOOL * tools
    return size + _MOST_A_TEMPLATE + _MOST_A_MESSAGE * len(request.messages)


def _shown(request: InferenceRequested) -> Iterator[str]:
    yield request.prompt
    for message in request.messages:
        yield content_text(message.get("content"))
        yield message.get("name") or ""
        if message.get("role") == "tool":
            yield "<tool_response>\n\n</tool_response>\n"
        for call in message.get("tool_calls") or ():
            yield _call(call)
    for asked in (request.sampling.tools, request.sampling.response_format):
        if asked:
            yield json.dumps(asked, ensure_ascii=False)


def _call(call: Mapping[str, Any]) -> str:
    """Of what is no call nothing is shown: the engine refuses it."""
    function = call.get("function")
    if not isinstance(function, Mapping):
        return ""
    name = json.dumps(function.get("name"), ensure_ascii=False)
    arguments = arguments_json(function.get("arguments"))
    return f'<tool_call>\n{{"name": {name}, "arguments": {arguments}}}\n</tool_call>\n'
