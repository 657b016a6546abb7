"""Time as an argument: domains are given it, edges read it here."""

import time
from collections.abc import Callable
from datetime import UTC, datetime

Clock = Callable[[], datetime]
MonotonicClock = Callable[[], float]


def utc_now() -> datetime:
    """The present as an aware UTC time."""
    return datetime.now(UTC)


def monotonic_s() -> float:
    """Seconds that never go back; only differences mean something."""
    return time.monotonic()
