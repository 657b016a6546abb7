"""Which parts of a long text are read: pieces of about a paragraph, cut at sentence
ends where possible.
"""

import re
from collections.abc import Iterator

WINDOW_CHARS = 280
HEAD_CHARS, TAIL_CHARS = 1536, 768
_END = re.compile(r"[.!?:;\n|]\s")


def inline_text(text: str) -> str:
    """What the inline depth reads: the whole of a short text, the first 1,536 and the
    last 768 characters of a longer one, with a line break between them.
    """
    if len(text) <= HEAD_CHARS:
        return text
    return text[:HEAD_CHARS] + "\n" + text[max(HEAD_CHARS, len(text) - TAIL_CHARS) :]


def windows(text: str, *, at_most: int) -> list[str]:
    """`text` in pieces of up to 280 characters (about 64 tokens); when there are more
    than `at_most`, an even sample that keeps the first and the last.
    """
    pieces = [piece for piece in _pieces(text) if piece.strip()] or [text[:WINDOW_CHARS]]
    if len(pieces) <= at_most:
        return pieces
    return [pieces[round(index * (len(pieces) - 1) / max(1, at_most - 1))] for index in range(at_most)]


def _pieces(text: str) -> Iterator[str]:
    start = 0
    while start < len(text):
        end = start + WINDOW_CHARS
        if end < len(text):
            cuts = [match.end() for match in _END.finditer(text, start + WINDOW_CHARS // 2, end)]
            space = text.rfind(" ", start + WINDOW_CHARS // 2, end)
            end = cuts[-1] if cuts else (space + 1 if space > 0 else end)
        yield text[start:end]
        start = end
