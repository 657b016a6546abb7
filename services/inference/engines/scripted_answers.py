"""What the scripted engine answers where the request asks for more than words.

- `Say: …` in the last message is answered with what follows.
- A schema (`response_format`) is answered with its simplest instance.
- A tool is called where `tool_choice` demands it, or where the last user's message
  names it: `get_weather`, or with arguments `get_weather({"city": "Paris"})`; those not
  given are the schema's simplest instance. After a tool's result come words again.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from services.inference.domain.choice_text import ChoiceText
from services.inference.domain.redelivery import Redelivery
from services.inference.engines.base import FinishReason, GenerationRequest, Piece, TokenLogprob, ToolCall
from services.inference.engines.formats.chat_text import plain_text
from services.inference.engines.formats.json_grammar import wanted_schema
from services.inference.engines.formats.tools import Function, wanted_tools

_SAY = "Say: "
_TOKEN = re.compile(r"\s?\S{1,12}|\s")
_DEEP = 16
_LOGPROB = -0.25


@dataclass(frozen=True, slots=True)
class Script:
    """An answer's tokens: text, or parts of tool calls."""

    tokens: tuple[str | ToolCall, ...]

    @property
    def end(self) -> FinishReason:
        """How it ends when nothing cuts it."""
        return "tool_calls" if any(isinstance(token, ToolCall) for token in self.tokens) else "stop"


def script_of(request: GenerationRequest) -> Script | None:
    """The answer that a request asks for; None for words.

    Raises:
        InvalidRequestError: its tools or its schema are none.
    """
    last = request.messages[-1] if request.messages else {"content": request.prompt}
    tools = wanted_tools(request.sampling, several=True)
    schema = wanted_schema(request.sampling.response_format)
    if tools is not None and last.get("role") != "tool":
        calls = _named_in(plain_text(last), tools.callable)[: tools.most]
        if not calls and tools.must:
            calls = [(tools.callable[0], None)]
        if calls:
            return Script(tuple(_call_tokens(calls, request.request_id)))
    if schema is not None:
        return Script(tuple(_TOKEN.findall(json.dumps(instance_of(schema)))))
    said = plain_text(last).partition(_SAY)[2]
    return Script(tuple(_TOKEN.findall(said))) if said else None


def instance_of(schema: Mapping[str, Any]) -> Any:
    """A schema's simplest instance, for schemas as tests write them."""
    return _instance(schema, schema, 0)


class ScriptChoice:
    """One choice's place in a script."""

    def __init__(self, request: GenerationRequest, index: int, script: Script, budget: int | None) -> None:
        self._index = index
        self._logprobs = request.sampling.logprobs
        self._tokens = script.tokens if budget is None else script.tokens[:budget]
        self._end: FinishReason = script.end if len(self._tokens) == len(script.tokens) else "length"
        self._text = ChoiceText(index, request.sampling.stop)
        self._redelivery = Redelivery(request.delivered_of(index)[0], request.calls_of(index))
        self._played = 0
        self._delivered_tokens = request.delivered_of(index)[1]

    @property
    def finished(self) -> bool:
        """Whether the choice is over."""
        return self._text.finished

    @property
    def new_tokens(self) -> int:
        """Played in this attempt."""
        return max(0, self._played - self._delivered_tokens)

    def advance(self, tokens: int) -> Piece | None:
        """The piece that so many further tokens give, if any."""
        if self.finished:
            return None
        taken = self._tokens[self._played : self._played + tokens]
        self._played += len(taken)
        end = self._end if self._played == len(self._tokens) else None
        texts = [token for token in taken if isinstance(token, str)]
        parts = tuple(token for token in taken if isinstance(token, ToolCall))
        logprobs = [TokenLogprob(text, _LOGPROB) for text in texts] if self._logprobs else ()
        written = self._text.write(texts, logprobs, end=end)
        if parts:
            written = written or Piece(index=self._index, text="")
            written = Piece(
                index=self._index,
                text=written.text,
                tokens=written.tokens + len(parts),
                finish_reason=written.finish_reason,
                tool_calls=parts,
            )
        return self._redelivery.rest_of(written) if written else None


def _named_in(text: str, functions: Sequence[Function]) -> list[tuple[Function, Any]]:
    """The functions that a text names, in its order, with the arguments it gives."""
    found = []
    by_name = {function.name: function for function in functions}
    names = "|".join(sorted(map(re.escape, by_name), key=len, reverse=True))
    for match in re.finditer(rf"(?<![\w-])({names})(?![\w-])(\()?", text):
        arguments = None
        if match[2]:
            try:
                arguments, _ = json.JSONDecoder().raw_decode(text, match.end())
            except ValueError:
                arguments = None
        found.append((by_name[match[1]], arguments))
    return found


def _call_tokens(calls: Sequence[tuple[Function, Any]], ids_from: str) -> Iterator[ToolCall]:
    for index, (function, given) in enumerate(calls):
        arguments = instance_of(function.schema) if given is None else given
        yield ToolCall(index=index, id=f"call_{ids_from[-24:]}_{index}", name=function.name)
        for token in _TOKEN.findall(json.dumps(arguments, ensure_ascii=False)):
            yield ToolCall(index=index, arguments=token)


def _instance(schema: Mapping[str, Any], root: Mapping[str, Any], depth: int) -> Any:
    if "$ref" in schema and depth < _DEEP:
        return _instance(_resolved(schema["$ref"], root), root, depth + 1)
    for key in ("const", "default"):
        if key in schema:
            return schema[key]
    if schema.get("enum"):
        return schema["enum"][0]
    for key in ("anyOf", "oneOf", "allOf"):
        if schema.get(key) and depth < _DEEP:
            return _instance(schema[key][0], root, depth + 1)
    return _of_type(schema, root, depth)


def _of_type(schema: Mapping[str, Any], root: Mapping[str, Any], depth: int) -> Any:
    kind = schema.get("type", "object")
    kind = kind[0] if isinstance(kind, list) else kind
    match kind:
        case "object" if depth < _DEEP:
            properties = schema.get("properties") or {}
            wanted = schema.get("required") or ()
            return {name: _instance(properties.get(name) or {}, root, depth + 1) for name in wanted}
        case "array" if depth < _DEEP:
            items = schema.get("items") or {"type": "string"}
            return [_instance(items, root, depth + 1) for _ in range(max(1, schema.get("minItems", 1)))]
        case "integer" | "number":
            return schema.get("minimum", schema.get("maximum", 1))
        case "boolean":
            return True
        case "null":
            return None
    return "amber".ljust(schema.get("minLength", 0), "r")[: schema.get("maxLength")]


def _resolved(reference: str, root: Mapping[str, Any]) -> Mapping[str, Any]:
    found: Any = root
    for part in reference.removeprefix("#/").split("/"):
        found = found[part]
    return found if isinstance(found, Mapping) else {}
