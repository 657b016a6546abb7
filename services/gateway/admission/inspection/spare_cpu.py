"""Whether the machine has CPU to spare: opinions are worth that, and no stream's time."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from services.common.clock import MonotonicClock

_STAT = Path("/proc/stat")
_LOOK_EVERY_S = 0.25
_IDLE_SHARE = 0.2


def read_cpu_times() -> tuple[int, int] | None:
    """The machine's idle and whole CPU time so far; None where it does not tell."""
    try:
        with _STAT.open() as lines:
            times = [int(one) for one in lines.readline().split()[1:9]]
    except (OSError, ValueError):
        return None
    return (times[3] + times[4], sum(times)) if len(times) == 8 else None


@dataclass
class SpareCpu:
    """Looks four times a second at most. A machine that does not tell has some."""

    monotonic: MonotonicClock
    read: Callable[[], tuple[int, int] | None] = read_cpu_times
    _looked_s: float = field(default=float("-inf"), init=False)
    _times: tuple[int, int] | None = field(default=None, init=False)
    _has: bool = field(default=True, init=False)

    @property
    def has_some(self) -> bool:
        """Whether a fifth of it was idle lately."""
        now_s = self.monotonic()
        if now_s - self._looked_s >= _LOOK_EVERY_S:
            self._looked_s, before, self._times = now_s, self._times, self.read()
            if before is None or self._times is None:
                self._has = True
            elif (whole := self._times[1] - before[1]) > 0:
                self._has = (self._times[0] - before[0]) / whole >= _IDLE_SHARE
        return self._has
