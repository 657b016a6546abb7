"""An answer that is generated again from its beginning, without what the client has."""

from collections.abc import Sequence
from dataclasses import replace

from services.inference.engines.base import ContinuationError, Piece, ToolCall


class Redelivery:
    """Skips what was delivered of one choice, as long as it comes again unchanged."""

    def __init__(self, text: str, calls: Sequence[ToolCall] = ()) -> None:
        self._text = text
        self._calls = {call.index: call for call in calls}

    def rest_of(self, piece: Piece) -> Piece | None:
        """What of a piece the client lacks; None where it has all of it.

        Raises:
            ContinuationError: it is another answer than the one delivered.
        """
        if not self._text and not self._calls:
            return piece
        skipped = min(len(piece.text), len(self._text))
        if piece.text[:skipped] != self._text[:skipped]:
            raise _differs()
        self._text = self._text[skipped:]
        parts = tuple(rest for part in piece.tool_calls if (rest := self._rest_of_call(part)) is not None)
        if piece.finish_reason and (self._text or self._calls):
            raise _differs()
        if len(piece.text) == skipped and not parts and not piece.finish_reason:
            return None
        return replace(piece, text=piece.text[skipped:], tool_calls=parts)

    def _rest_of_call(self, part: ToolCall) -> ToolCall | None:
        have = self._calls.get(part.index)
        if have is None:
            return part
        if part.name is not None and (part.name, part.id) != (have.name, have.id):
            raise _differs()
        skipped = min(len(part.arguments), len(have.arguments))
        if part.arguments[:skipped] != have.arguments[:skipped]:
            raise _differs()
        left = replace(have, arguments=have.arguments[skipped:])
        if left.arguments:
            self._calls[part.index] = left
        else:
            del self._calls[part.index]
        rest = part.arguments[skipped:]
        return ToolCall(index=part.index, arguments=rest) if rest else None


def _differs() -> ContinuationError:
    return ContinuationError(
        "constrained output cannot be continued: generated again, it differs from what was delivered"
    )
