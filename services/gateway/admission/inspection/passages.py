"""What of a request a model reads, as texts to be judged. Pure."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from schemas.inference import InferenceRequested
from services.common.requests.masking.texts import content_text

SLICE_CHARS, OVERLAP_CHARS = 1536, 256
"""What the detector reads whole in one piece, and by how much pieces overlap: what a
rule matches is shorter.
"""
SEAM_CHARS = 160
_STRANGERS = ("user", "tool")


def slices_of(request: InferenceRequested) -> list[str]:
    """All texts of a request in pieces, each once, in their order.

    Roles make no difference: whoever writes to a model may write any of them. Messages
    of users and tools that follow each other are read over their border, too: an attack
    may be cut in two.
    """
    found: dict[str, None] = {}
    before = ""
    for role, text in _passages(request):
        for piece in _pieces(text):
            if piece and not piece.isspace():
                found[piece] = None
        if before and role in _STRANGERS:
            found[before[-SEAM_CHARS:] + "\n" + text[:SEAM_CHARS]] = None
        before = text if role in _STRANGERS else ""
    return list(found)


def _passages(request: InferenceRequested) -> Iterator[tuple[str, str]]:
    if request.prompt:
        yield "prompt", request.prompt
    for message in request.messages:
        yield str(message.get("role", "")), _message(message)
    for tool in request.sampling.tools:
        yield "tools", "\n".join(_strings(tool))
    if request.sampling.response_format:
        yield "format", "\n".join(_strings(request.sampling.response_format))


def _message(message: Mapping[str, Any]) -> str:
    """A message's content first, as the engines join it; then the rest that is told."""
    texts = [content_text(message.get("content"))]
    texts += [str(message[name]) for name in ("name", "tool_call_id") if message.get(name)]
    texts += _strings(message.get("tool_calls"))
    return "\n".join(texts)


def _strings(value: Any) -> Iterator[str]:
    """Every string within, names of fields too, in their order."""
    waiting: list[Any] = [value]
    while waiting:
        one = waiting.pop()
        if isinstance(one, str):
            yield one
        elif isinstance(one, Mapping):
            waiting.extend(reversed([part for pair in one.items() for part in pair]))
        elif isinstance(one, Iterable):
            waiting.extend(reversed(list(one)))


def _pieces(text: str) -> Iterator[str]:
    yield text[:SLICE_CHARS]
    for start in range(SLICE_CHARS - OVERLAP_CHARS, len(text) - OVERLAP_CHARS, SLICE_CHARS - OVERLAP_CHARS):
        yield text[start : start + SLICE_CHARS]
