"""Up to which moment a partition has been read.

A reader that was stopped, or is behind, has not read what lies in the log already.
A conclusion from silence holds only for a reader that has read up to the moment that
the conclusion is about: the log's end is asked for, and once the reader is there, all
that was appended before the question has been read.
"""

from collections import deque

_MARKS = 64


class ReadProgress:
    """Compares what was read with ends that were asked for.

    Times are seconds of one monotonic clock.
    """

    def __init__(self) -> None:
        self._read_to = 0
        self._current_at = float("-inf")
        self._marks: deque[tuple[float, int]] = deque()

    @property
    def current_at(self) -> float:
        """Everything that was appended before this moment has been read."""
        return self._current_at

    @property
    def pending(self) -> bool:
        """Whether an end is known that has not been read up to."""
        return bool(self._marks)

    def observe_end(self, end: int, *, asked_at: float) -> None:
        """The log ended before offset `end`, at `asked_at` or later.

        Beyond 64 that wait the oldest stay: they are reached first.
        """
        if self._read_to >= end:
            self._marks.clear()
            self._current_at = max(self._current_at, asked_at)
        elif len(self._marks) < _MARKS:
            self._marks.append((asked_at, end))

    def advance(self, read_to: int) -> None:
        """Everything before offset `read_to` has been read and acted upon."""
        self._read_to = read_to
        while self._marks and self._marks[0][1] <= read_to:
            self._current_at = max(self._current_at, self._marks.popleft()[0])
