"""aiokafka's log: one line a message and five seconds is enough while a broker is away,
and what its group coordinator mends by itself is worth a line only where it lasts.
"""

import logging
import time
from collections.abc import Callable

_ROUTINE = frozenset(
    {
        "Group Coordinator Request failed: %s",
        "Marking the coordinator dead (node %s)for group %s.",
        "Heartbeat session expired - marking coordinator dead",
        "Heartbeat failed for group %s: coordinator (node %s) is either not started or not valid",
        "Heartbeat failed for group %s because it is rebalancing",
        "Heartbeat failed for group %s: generation id is not  current.",
        "Heartbeat failed: local member_id was not recognized; resetting and re-joining group",
    }
)
"""What every start, restart and rebalance brings with it. Our own events say which
partitions were taken and given back; /ready, metrics and `tocsin doctor` who lags.
"""
_LASTS_S = 30.0


class RateFilter(logging.Filter):
    """Lets each distinct message format through once in `interval_s`, with the count of
    what it held back.
    """

    def __init__(
        self, interval_s: float = 5.0, capacity: int = 256, clock: Callable[[], float] = time.monotonic
    ) -> None:
        super().__init__()
        self._interval_s = interval_s
        self._capacity = capacity
        self._clock = clock
        self._seen: dict[tuple[str, int, str], tuple[float, int]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """True to let the record through."""
        key = (record.name, record.levelno, str(record.msg))
        now = self._clock()
        last, held = self._seen.get(key, (float("-inf"), 0))
        if now - last < self._interval_s:
            self._seen[key] = (last, held + 1)
            return False
        if len(self._seen) >= self._capacity:
            self._seen.clear()
        self._seen[key] = (now, 0)
        if held:
            record.msg = f"{record.msg} (and {held} more like it)"
        return True


class RoutineFilter(logging.Filter):
    """Makes debug messages of what the group coordinator mends by itself, unless such
    messages have come for half a minute without a pause of as long.
    """

    def __init__(self, lasts_s: float = _LASTS_S, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._lasts_s = lasts_s
        self._clock = clock
        self._began = self._last = float("-inf")

    def filter(self, record: logging.LogRecord) -> bool:
        """True to let the record through."""
        if str(record.msg) not in _ROUTINE:
            return True
        now = self._clock()
        if now - self._last > self._lasts_s:
            self._began = now
        self._last = now
        if now - self._began >= self._lasts_s:
            return True
        record.levelno, record.levelname = logging.DEBUG, "DEBUG"
        return logging.getLogger().isEnabledFor(logging.DEBUG)


def limit_log_rate() -> None:
    """Installs the filters on aiokafka's loggers; calling it again changes nothing."""
    for name in (
        "aiokafka",
        "aiokafka.conn",
        "aiokafka.client",
        "aiokafka.cluster",
        "aiokafka.producer.sender",
        "aiokafka.producer.producer",
        "aiokafka.consumer.consumer",
        "aiokafka.consumer.fetcher",
        "aiokafka.consumer.group_coordinator",
    ):
        logger = logging.getLogger(name)
        if not any(isinstance(one, RateFilter) for one in logger.filters):
            logger.addFilter(RoutineFilter())
            logger.addFilter(RateFilter())
