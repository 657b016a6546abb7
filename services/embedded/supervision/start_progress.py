"""Whether a process that is not ready yet gets on, however slowly.

On a machine with other things to do a start takes many times as long as on an idle one.
So it is not given a time, it is given up once nothing has happened for some time.
"""

import re
import time
from contextlib import suppress

import psutil

from services.embedded.supervision.process_sessions import session_members

_WINDOW_S = 10.0
_BUSY_SHARE = 0.05  # of a core, in a window; Ray and Kafka, idle, take less
_BYTES = 5_000_000  # read or written in a window
_KNOWN_LINES = 2_000
_NUMBERS = re.compile(r"\d+")


class StartProgress:
    """Looks at a session's CPU time and bytes, and at what it writes: a line that it
    has not written before is progress, the hundredth "trying again" is not.
    """

    def __init__(self, patience_s: float) -> None:
        self._patience_s = patience_s
        self._window_s = min(_WINDOW_S, patience_s / 2)
        self._lines: set[str] = set()
        self._moved_at = self._looked_at = time.monotonic()
        self._spent = (0.0, 0)

    def heard(self, line: str) -> None:
        """It wrote a line."""
        text = _NUMBERS.sub("", line)
        if text not in self._lines and len(self._lines) < _KNOWN_LINES:
            self._lines.add(text)
            self._moved_at = time.monotonic()

    def is_stalled(self, session: int) -> bool:
        """Whether nothing has happened for as long as one has patience."""
        now = time.monotonic()
        if now - self._looked_at >= self._window_s:
            cpu_s, moved_bytes = spent = _spent(session)
            busy_s = _BUSY_SHARE * (now - self._looked_at)
            if cpu_s - self._spent[0] > busy_s or moved_bytes - self._spent[1] > _BYTES:
                self._moved_at = now
            self._looked_at, self._spent = now, spent
        return now - self._moved_at > self._patience_s


def _spent(session: int) -> tuple[float, int]:
    """CPU seconds and bytes of a session's living processes."""
    cpu_s, moved_bytes = 0.0, 0
    for pid in session_members(session):
        with suppress(psutil.Error, AttributeError, NotImplementedError):
            process = psutil.Process(pid)
            times = process.cpu_times()
            cpu_s += times.user + times.system
            io = process.io_counters()
            moved_bytes += io.read_bytes + io.write_bytes + getattr(io, "read_chars", 0)
    return cpu_s, moved_bytes
