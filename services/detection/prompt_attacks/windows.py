"""Which parts of a long text are read: pieces of about a paragraph, cut at sentence
ends where possible.
"""

import re
from collections.abc import Iterator

WINDOW_CHARS, WIDE_CHARS = 200, 72
HEAD_CHARS, TAIL_CHARS = 1536, 768
_REPEATED = re.compile(r"(.{1,60}?)\1{3,}", re.DOTALL)
_END = re.compile(r"[.!?:;\n|]\s|[。！？；]")


def inline_text(text: str) -> str:
    """What the inline depth reads: the whole of a short text, the first 1,536 and the
    last 768 characters of a longer one, with a line break between them.
    """
    if len(text) <= HEAD_CHARS:
        return text
    return text[:HEAD_CHARS] + "\n" + text[max(HEAD_CHARS, len(text) - TAIL_CHARS) :]


def windows(text: str, *, at_most: int) -> list[str]:
    """`text` in pieces of up to 200 characters (about 48 tokens), of 72 where it is
    mostly Chinese, Japanese or Korean; when there are more than `at_most`, an even
    sample that keeps the first and the last.
    """
    size = WIDE_CHARS if _is_wide(text) else WINDOW_CHARS
    pieces = [piece for piece in _pieces(text, size) if piece.strip()] or [text[:size]]
    if len(pieces) <= at_most:
        return pieces
    return [pieces[round(index * (len(pieces) - 1) / max(1, at_most - 1))] for index in range(at_most)]


def said_once(piece: str) -> str:
    """A piece of little but repetition ("word word word …") with what it repeats said
    once: an encoder takes endless repetition for an attack, whatever is repeated.
    """
    distinct = {piece[place : place + 4] for place in range(len(piece) - 3)}
    if len(piece) < 24 or len(distinct) * 3 > len(piece):
        return piece
    return _REPEATED.sub(r"\1", piece)


def _is_wide(text: str) -> bool:
    if text.isascii():
        return False
    beginning = text[:400]
    return sum(character >= "\u1100" for character in beginning) * 4 > len(beginning)


def _pieces(text: str, size: int) -> Iterator[str]:
    start = 0
    while start < len(text):
        end = start + size
        if end < len(text):
            cuts = [match.end() for match in _END.finditer(text, start + size // 2, end)]
            space = text.rfind(" ", start + size // 2, end)
            end = cuts[-1] if cuts else (space + 1 if space > 0 else end)
        yield text[start:end]
        start = end
