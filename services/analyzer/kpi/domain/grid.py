"""Which windows are to be judged next. Pure.

Windows end on a grid of event time, so that whoever takes over judges the same ones.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Generic, TypeVar

HOP = timedelta(seconds=2)
MINUTE = timedelta(minutes=1)
WINDOW = timedelta(minutes=5)
_COARSE_BEHIND = timedelta(minutes=5)
LONGEST_CATCHING_UP = timedelta(hours=1)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SNAPSHOTS = 1200
Place = TypeVar("Place")


def floor(moment: datetime, step: timedelta) -> datetime:
    """The newest point of a grid that is not after a moment."""
    return moment - (moment - _EPOCH) % step


def next_end(judged_to: datetime, watermark: datetime) -> datetime | None:
    """The end of the window that is to be judged after the one that ended at
    `judged_to`; None where none is closed yet.

    Ends are two seconds apart; a minute where that is five minutes behind or more. What
    lies more than an hour back is passed over: `is_passed_over` says so.
    """
    behind = watermark - judged_to
    if behind > LONGEST_CATCHING_UP:
        return floor(watermark - LONGEST_CATCHING_UP, MINUTE) + MINUTE
    step = MINUTE if behind >= _COARSE_BEHIND else HOP
    following = floor(judged_to, step) + step
    return following if following <= watermark else None


def is_passed_over(judged_to: datetime, following: datetime) -> bool:
    """Whether windows between the two are never judged."""
    return following - judged_to > MINUTE


@dataclass
class Snapshots(Generic[Place]):
    """Where the log ended when: what was appended by then is recorded once a consumer
    has reached those ends.
    """

    slack: timedelta = timedelta(seconds=0.5)
    _taken: list[tuple[datetime, dict[Place, int]]] = field(default_factory=list)
    _moved_at: datetime | None = None

    def take(self, now: datetime, ends: Mapping[Place, int]) -> None:
        """Notes where the log ends now."""
        if not self._taken or self._taken[-1][1] != dict(ends):
            self._moved_at = now
        self._taken.append((now, dict(ends)))
        if len(self._taken) > _SNAPSHOTS:  # keep the oldest: the consumer may just have reached it
            del self._taken[1]

    def watermark(self, positions: Mapping[Place, int]) -> datetime | None:
        """Everything that ended before this is recorded, but for what was published more
        than `slack` after it had ended. None where that is not known yet.
        """
        reached = [
            number
            for number, (_, ends) in enumerate(self._taken)
            if all(positions.get(place, 0) >= end for place, end in ends.items())
        ]
        if not reached:
            return None
        del self._taken[: reached[-1]]
        return self._taken[0][0] - self.slack

    def is_quiet_since(self, moment: datetime) -> bool:
        """Whether nothing was appended after `moment`."""
        return self._moved_at is not None and self._moved_at <= moment
