"""Which parts of a long text are read: pieces of about a paragraph, cut at sentence
ends where possible; and texts without what only pushes their words apart.
"""

import re
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

WINDOW_CHARS, WIDE_CHARS = 200, 72
HEAD_CHARS, TAIL_CHARS = 1536, 768
_REPEATED = re.compile(r"(.{1,60}?)\1{3,}", re.DOTALL)
_END = re.compile(r"[.!?:;\n|]\s|[。！？；]")

FILLERS = "\u115f\u1160\u2800\u3164\uffa0"
"""Blank like a space, though Unicode counts them among letters and symbols."""
_UNSEEN = (
    "\u00ad\u034f\u061c\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f\ufe00-\ufe0f\ufeff"
    "\ufff9-\ufffb\U000e0100-\U000e01ef"
)
"""Of no width. Tag characters are not among them: they may say something."""
_CONTROLS = r"\s\x00-\x1f\x7f-\x9f"
_ASCII_PADDING = re.compile(r"[\x00-\x20\x7f]{4,}")
_PADDING = re.compile(f"[{_CONTROLS}{FILLERS}{_UNSEEN}]{{4,}}")
_BLANK = re.compile(f"[{_CONTROLS}{FILLERS}]")


@dataclass(frozen=True, slots=True)
class Unpadded:
    """A text without its padding: long runs of what shows nothing, which people and
    models read over, while rules and bounded windows do not. `starts` are the places in
    it where more of the original was left out, `shifts` how many characters by then.
    """

    text: str
    starts: Sequence[int] = ()
    shifts: Sequence[int] = ()

    def origin(self, position: int) -> int:
        """Where a character stands in the original."""
        place = bisect_right(self.starts, position)
        return position + (self.shifts[place - 1] if place else 0)

    def span(self, start: int, end: int) -> tuple[int, int]:
        """Where a stretch stands in the original, end exclusive."""
        return self.origin(start), self.origin(end - 1) + 1 if end > start else self.origin(start)


def unpadded(text: str) -> Unpadded:
    """A text of which every run of four and more blank or unseen characters is one line
    break or one space, or nothing where it parts no words.
    """
    pattern = _ASCII_PADDING if text.isascii() else _PADDING
    pieces: list[str] = []
    starts: list[int] = []
    shifts: list[int] = []
    cursor = length = 0
    for match in pattern.finditer(text):
        run = match[0]
        stead = "\n" if "\n" in run else " " if _BLANK.search(run) else ""
        pieces += (text[cursor : match.start()], stead)
        length += match.start() - cursor + len(stead)
        cursor = match.end()
        starts.append(length)
        shifts.append(cursor - length)
    if not starts:
        return Unpadded(text)
    return Unpadded("".join((*pieces, text[cursor:])), starts, shifts)


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
