"""An answer's pieces on their way to the client. Pure, but for metrics.

What comes out follows from the request and from the pieces in the log's order alone, so
every gateway gives the same blocks for the same records: a client that takes a stream
up elsewhere has neither gap nor repeat.
"""

from collections.abc import Iterable, Iterator
from typing import Any

from schemas.errors import ErrorCode
from schemas.inference import End, Outcome, Piece
from services.common.process import metrics
from services.detection.finding import is_secret
from services.detection.output_rules import ECHO
from services.gateway.streams.output_filter.text_filter import AnswerRules, TextFilter

_TEXT = -1
"""In the stead of a call's index: the choice's words."""


class OutputFilter:
    """Passes on the pieces of one request's choices.

    `content_is_json`: the words of a choice are JSON, as its call's arguments are.
    """

    def __init__(self, rules: AnswerRules, choices: int, *, content_is_json: bool = False) -> None:
        in_json = rules.in_json()
        words = in_json if content_is_json else rules
        self._choices = [_Choice(index, words, in_json) for index in range(choices)]

    @property
    def is_cut(self) -> bool:
        """Whether nothing that may still come is told."""
        return all(choice.is_cut for choice in self._choices)

    def pass_on(self, pieces: Iterable[Piece], end: End | None) -> tuple[Piece, ...]:
        """What a step of the stream tells the client."""
        told: list[Piece] = []
        for piece in pieces:
            if 0 <= piece.index < len(self._choices):
                told.extend(self._choices[piece.index].take(piece))
        if end is not None:
            for choice in self._choices:
                told.extend(choice.end())
        return tuple(told)

    def end_of(self, end: End) -> End:
        """How the request ends for the client: an answer that was cut is whole, whatever
        became of the rest.
        """
        return end.model_copy(update={"outcome": Outcome.COMPLETED, "error": None}) if self.is_cut else end


class _Choice:
    """One choice: words and calls follow each other, and what was held back of one is
    told before the next begins.
    """

    def __init__(self, index: int, words: AnswerRules, arguments: AnswerRules) -> None:
        self._index, self._words, self._arguments = index, words, arguments
        self._begun = self._over = self.is_cut = False
        self._open = _TEXT
        self._filter = TextFilter(words)

    def take(self, piece: Piece) -> Iterator[Piece]:
        """What a piece releases. The choice's first is told even where it says nothing:
        the client learns that the answer has begun.
        """
        if self._over:
            return
        if piece.text and self._open != _TEXT:
            yield from self._switch(_TEXT)
        text = self._filter.take(piece.text) if piece.text else ""
        told = piece.model_copy(update={"text": text, "tool_calls": None, "finish_reason": None})
        if not self._begun or text or piece.logprobs or piece.tokens:
            self._begun = True
            yield told
        yield from self._take_calls(piece.tool_calls or ())
        if piece.finish_reason and not self._cut_short():
            yield from self._held()
            if not self._cut_short():
                self._over = True
                yield Piece(index=self._index, finish_reason=piece.finish_reason)
        if self._cut_short():
            yield from self._cut()

    def end(self) -> Iterator[Piece]:
        """What was held back, where the choice has no end of its own."""
        if not self._over:
            yield from self._held()
            if self._cut_short():
                yield from self._cut()
            self._over = True

    def _take_calls(self, parts: Iterable[dict[str, Any]]) -> Iterator[Piece]:
        for part in parts:
            index = int(part.get("index") or 0)
            if index != self._open:
                yield from self._switch(index)
            if self._cut_short():
                return
            function = part.get("function") or {}
            arguments = self._filter.take(str(function.get("arguments") or ""))
            told = part | {"function": {**function, "arguments": arguments}} if function else part
            yield Piece(index=self._index, tool_calls=(told,))

    def _switch(self, to: int) -> Iterator[Piece]:
        yield from self._held()
        if not self._cut_short():
            self._open = to
            self._filter = TextFilter(self._words if to == _TEXT else self._arguments)

    def _held(self) -> Iterator[Piece]:
        rest = self._filter.end()
        self._count()
        if rest and self._open == _TEXT:
            yield Piece(index=self._index, text=rest)
        elif rest:
            part = {"index": self._open, "function": {"arguments": rest}}
            yield Piece(index=self._index, tool_calls=(part,))

    def _cut_short(self) -> bool:
        return self._filter.is_cut

    def _cut(self) -> Iterator[Piece]:
        self._count()
        self._over = self.is_cut = True
        yield Piece(index=self._index, finish_reason=ErrorCode.CONTENT_FILTER.value)

    def _count(self) -> None:
        for kind in self._filter.hidden:
            metrics.ANSWERS_HIDDEN.labels(_kind_of(kind)).inc()
        self._filter.hidden.clear()


def _kind_of(found: str) -> str:
    if found == ECHO:
        return "system_prompt"
    return "secret" if is_secret(found) else "personal"
