r"""JSON Schemas as grammars that constrain llama.cpp's output.

llama.cpp's own conversion of schemas leaves out what it cannot express (`\d` in a
pattern, bounds of numbers) and accepts anything there. So the grammar is llguidance's,
which llama.cpp is built with. What it cannot hold it says beforehand; where llama.cpp
generates without it all the same, as it does with some that grow too large, the answer
is refused.
"""

import json
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from llguidance import LLMatcher, LLTokenizer

from services.inference.engines.base import InvalidRequestError

_ANY_OBJECT: Mapping[str, Any] = {"type": "object"}
_COMPACT = {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": "}
"""One way to write JSON: small models fill free white space with blank lines."""
_COMPLAINT = "failed to compile JSON schema:"
_BYTES = LLTokenizer("byte")


def wanted_grammar(response_format: Mapping[str, Any] | None) -> str | None:
    """The grammar that a `response_format` asks for; None for plain text.

    Raises:
        InvalidRequestError: there is no schema where there must be one, or no grammar
            can hold it.
    """
    if not response_format or response_format.get("type") == "text":
        return None
    if response_format.get("type") == "json_object":
        schema = response_format.get("schema") or _ANY_OBJECT
    else:
        schema = (response_format.get("json_schema") or {}).get("schema")
    if not isinstance(schema, Mapping):
        raise InvalidRequestError(
            f"response_format.json_schema.schema is {schema!r}: give a JSON Schema object",
            param="response_format",
        )
    grammar = f"%llguidance {{}}\nstart: %json {json.dumps({**schema, 'x-guidance': _COMPACT})}"
    if complaint := _complaint(grammar):
        raise _refusal(complaint)
    return grammar


class GrammarCheck:
    """Holds generated text against its grammar."""

    def __init__(self, grammar: str) -> None:
        self._matcher = LLMatcher(_BYTES, grammar, log_level=0)

    def follow(self, text: str) -> None:
        """Takes the next text.

        Raises:
            InvalidRequestError: it is not of the grammar, so llama.cpp did not apply it.
        """
        encoded = list(text.encode())
        if self._matcher.try_consume_tokens(encoded) < len(encoded):
            raise _refusal("it is too large to be applied; simplify it")


@lru_cache(maxsize=256)
def _complaint(grammar: str) -> str:
    """What is wrong with a grammar; empty where nothing is."""
    found = str(LLMatcher.validate_grammar(grammar))
    said = found.partition(_COMPLAINT)[2] or found
    return " ".join(said.partition("\n   1 | ")[0].split())[:500]


def _refusal(why: str) -> InvalidRequestError:
    return InvalidRequestError(f"the model's grammar cannot hold this schema: {why}", param="response_format")
