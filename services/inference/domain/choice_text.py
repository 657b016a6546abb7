"""One choice's tokens on their way to the client, for engines that generate token by
token.
"""

from collections import deque
from collections.abc import Iterable, Sequence
from itertools import takewhile, zip_longest

from services.inference.domain.stop_strings import StopScanner
from services.inference.engines.base import FinishReason, Piece, TokenLogprob


class ChoiceText:
    """Turns tokens into pieces: holds possible stop strings back, counts a token with
    the piece that brings its last character.
    """

    def __init__(self, index: int, stops: Sequence[str], *, delivered: str = "") -> None:
        self._index = index
        self._scanner = StopScanner(stops, delivered=delivered)
        self._fed = 0
        self._released = 0
        self._counted_until = 0
        self._waiting: deque[tuple[int, TokenLogprob | None]] = deque()
        self.tokens = 0
        """Counted so far, over all pieces."""
        self.finished = False

    def write(
        self,
        tokens: Iterable[str],
        logprobs: Sequence[TokenLogprob | None] = (),
        *,
        end: FinishReason | None = None,
    ) -> Piece | None:
        """The piece that new tokens give; None where all of it is held back.

        `end` says that they are the last, and why. A stop string in them ends the
        choice before that.
        """
        arrived = list(tokens)
        for token, logprob in zip_longest(arrived, logprobs):
            self._fed += len(token)
            self._waiting.append((self._fed, logprob))
        text = self._scanner.feed("".join(arrived))
        if self._scanner.stopped_at is not None:
            return self._last_piece(text, until=self._scanner.stopped_at, finish_reason="stop")
        if end:
            return self._last_piece(text + self._scanner.flush(), until=self._fed, finish_reason=end)
        self._released += len(text)
        return (
            self._piece(text, [self._waiting.popleft() for _ in range(self._whole_tokens())])
            if text
            else None
        )

    def _whole_tokens(self) -> int:
        return sum(1 for _ in takewhile(lambda waiting: waiting[0] <= self._released, self._waiting))

    def _last_piece(self, text: str, *, until: int, finish_reason: FinishReason) -> Piece:
        self.finished = True
        starts = [self._counted_until, *(end for end, _ in self._waiting)]
        counted = [waiting for start, waiting in zip(starts, self._waiting, strict=False) if start < until]
        return self._piece(text, counted, finish_reason=finish_reason)

    def _piece(
        self,
        text: str,
        counted: list[tuple[int, TokenLogprob | None]],
        *,
        finish_reason: FinishReason | None = None,
    ) -> Piece:
        self._counted_until = counted[-1][0] if counted else self._counted_until
        self.tokens += len(counted)
        logprobs = tuple(logprob for _, logprob in counted if logprob)
        return Piece(
            index=self._index,
            text=text,
            tokens=len(counted),
            logprobs=logprobs or None,
            finish_reason=finish_reason,
        )
