"""What of a request a model reads, as texts to be judged. Pure."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from schemas.inference import InferenceRequested
from services.common.requests.masking.texts import content_text
from services.detection.prompt_attacks.windows import unpadded

SLICE_CHARS, OVERLAP_CHARS = 1536, 256
"""What the detector reads whole in one piece, and by how much pieces overlap: what a
rule matches is shorter.
"""
SEAM_CHARS = 160
_STRANGERS = ("user", "tool")


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
    for tool in request.sampling.tools:
        yield "tools", "\n".join(strings_in(tool))
    if request.sampling.response_format:
        yield "format", "\n".join(strings_in(request.sampling.response_format))


def _message(message: Mapping[str, Any]) -> str:
    """A message's content first, as the engines join it; then the rest that is told."""
    texts = [content_text(message.get("content"))]
    texts += [str(message[name]) for name in ("name", "tool_call_id") if message.get(name)]
    texts += strings_in(message.get("tool_calls"))
    return "\n".join(texts)


def strings_in(value: Any) -> Iterator[str]:
    """Every string within, names of fields too, in their order."""
    waiting: list[Any] = [] if value is None else [value]
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
