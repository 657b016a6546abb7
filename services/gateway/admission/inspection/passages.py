"""What of a request a model reads, as texts to be judged. Pure."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from schemas.inference import InferenceRequested, Sampling
from services.common.requests.masking.texts import content_text
from services.detection.prompt_attacks.windows import unpadded

SLICE_CHARS, OVERLAP_CHARS = 1536, 256
"""What the detector reads whole in one piece, and by how much pieces overlap: what a
rule matches is shorter.
"""
SEAM_CHARS = 160
_STRANGERS = ("user", "tool")
_WORD_CHARS = 48
"""What is longer is read where it stands, and needs no neighbours to be understood."""
_KEYWORDS = """
    $defs $ref $schema additionalProperties allOf anyOf array boolean const default description enum
    examples exclusiveMaximum exclusiveMinimum format function integer items json_schema maximum
    maxItems maxLength minimum minItems minLength multipleOf name not null number object oneOf
    parameters pattern patternProperties prefixItems properties required schema strict string title
    type uniqueItems
"""
_SCHEMA_WORDS = frozenset(_KEYWORDS.split())
"""What stands between the words that somebody chose."""


def slices_of(request: InferenceRequested) -> list[str]:
    """All texts of a request in pieces, each once, in their order.

    Roles make no difference: whoever writes to a model may write any of them. Messages
    of users and tools that follow each other are read over their borders, too: an attack
    may be cut into any number of them. Padding is left out, so that none pushes an
    attack's words into different pieces.
    """
    found: dict[str, None] = {}
    before = ""
    for role, padded in _passages(request):
        text = unpadded(padded).text
        for piece in _pieces(text):
            if piece and not piece.isspace():
                found[piece] = None
        if before and role in _STRANGERS:
            found[before + "\n" + text[:SEAM_CHARS]] = None
        joined = f"{before}\n{text}" if before else text
        before = joined[-SEAM_CHARS:] if role in _STRANGERS else ""
    return list(found)


def _passages(request: InferenceRequested) -> Iterator[tuple[str, str]]:
    if request.prompt:
        yield "prompt", request.prompt
    for message in request.messages:
        yield str(message.get("role", "")), _message(message)
    sampling = request.sampling
    for tool in sampling.tools:
        yield "tools", "\n".join(strings_in(tool))
    if sampling.response_format:
        yield "format", "\n".join(strings_in(sampling.response_format))
    if others := _others(sampling):
        yield "others", "\n".join(strings_in(others))
    if structured := [one for one in (sampling.tools, sampling.response_format, others) if one]:
        yield from (("schema", text) for text in _scattered(structured))


def _others(sampling: Sampling) -> list[Any]:
    """What else an upstream is told in words: names of tools, and stop texts."""
    choice = sampling.tool_choice if isinstance(sampling.tool_choice, Mapping) else None
    return [one for one in (choice, sampling.stop) if one]


def _scattered(structured: Sequence[Any]) -> Iterator[str]:
    """The short strings of schemas and tools, each time in one line: names of fields,
    values, and both. A model reads a sentence of which each field has one word.
    """
    words = [
        (one, is_name)
        for one, is_name in _strings(structured)
        if len(one) <= _WORD_CHARS and one not in _SCHEMA_WORDS
    ]
    names = [one for one, is_name in words if is_name]
    values = [one for one, is_name in words if not is_name]
    lines = (names, values, [one for one, _ in words] if names and values else [])
    yield from (" ".join(line) for line in lines if len(line) > 1)


def _message(message: Mapping[str, Any]) -> str:
    """A message's content first, as the engines join it; then the rest that is told."""
    texts = [content_text(message.get("content"))]
    texts += [str(message[name]) for name in ("name", "tool_call_id") if message.get(name)]
    texts += strings_in(message.get("tool_calls"))
    return "\n".join(texts)


def strings_in(value: Any) -> Iterator[str]:
    """Every string within, names of fields too, in their order."""
    return (one for one, _ in _strings(value))


def _strings(value: Any) -> Iterator[tuple[str, bool]]:
    """Each with whether it is the name of a field."""
    waiting: list[tuple[Any, bool]] = [(value, False)]
    while waiting:
        one, is_name = waiting.pop()
        if isinstance(one, str):
            yield one, is_name
        elif isinstance(one, Mapping):
            waiting += reversed(
                [part for name, within in one.items() for part in ((name, True), (within, False))]
            )
        elif isinstance(one, Iterable):
            waiting += reversed([(within, False) for within in one])


def _pieces(text: str) -> Iterator[str]:
    yield text[:SLICE_CHARS]
    for start in range(SLICE_CHARS - OVERLAP_CHARS, len(text) - OVERLAP_CHARS, SLICE_CHARS - OVERLAP_CHARS):
        yield text[start : start + SLICE_CHARS]
