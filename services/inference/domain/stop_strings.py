"""Finding stop strings in text that arrives in pieces."""

from collections.abc import Sequence


class StopScanner:
    """Lets text through up to the first stop string, whatever the pieces it comes in.

    What may be the beginning of a stop string is held back until the next piece
    decides. The stop string that ends first wins; of several that end together, the
    longest. `delivered` is text that went out earlier: a stop string may begin in it.
    """

    def __init__(self, stops: Sequence[str], *, delivered: str = "") -> None:
        self._stops = tuple(stop for stop in stops if stop)
        self._reach = max((len(stop) for stop in self._stops), default=1) - 1
        self._buffer = delivered[-self._reach :] if self._reach else ""
        self._out = len(self._buffer)
        self._seen = 0
        self.stopped_at: int | None = None
        """Characters fed until the stop string was complete; None before."""

    def feed(self, text: str) -> str:
        """What may go out now; nothing any more once a stop string was found."""
        if self.stopped_at is not None:
            return ""
        if not self._stops:
            return text
        before = len(self._buffer)
        self._buffer += text
        found = self._first_match()
        if found:
            start, end = found
            self.stopped_at = self._seen + end - before
            return self._buffer[self._out : start]
        self._seen += len(text)
        safe = max(self._out, len(self._buffer) - self._possible_beginning())
        released = self._buffer[self._out : safe]
        keep_from = max(0, min(safe, len(self._buffer) - self._reach))
        self._buffer = self._buffer[keep_from:]
        self._out = safe - keep_from
        return released

    def flush(self) -> str:
        """What is still held back, when no more text comes."""
        if self.stopped_at is not None:
            return ""
        held = self._buffer[self._out :]
        self._out = len(self._buffer)
        return held

    def _first_match(self) -> tuple[int, int] | None:
        starts = ((stop, self._buffer.find(stop, max(0, self._out - len(stop) + 1))) for stop in self._stops)
        matches = [(start + len(stop), start) for stop, start in starts if start >= 0]
        if not matches:
            return None
        end, start = min(matches)
        return start, end

    def _possible_beginning(self) -> int:
        for length in range(min(self._reach, len(self._buffer)), 0, -1):
            tail = self._buffer[-length:]
            if any(stop.startswith(tail) for stop in self._stops if len(stop) > length):
                return length
        return 0
