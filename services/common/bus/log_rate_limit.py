"""aiokafka logs hundreds of lines while a broker is away; one a message and five
seconds is enough.
"""

import logging
import time


class RateFilter(logging.Filter):
    """Lets each distinct message format through once in `interval_s`, with the count of
    what it held back.
    """

    def __init__(self, interval_s: float = 5.0, capacity: int = 256) -> None:
        super().__init__()
        self._interval_s = interval_s
        self._capacity = capacity
        self._seen: dict[tuple[str, int, str], tuple[float, int]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """True to let the record through."""
        key = (record.name, record.levelno, str(record.msg))
        now = time.monotonic()
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


def limit_log_rate() -> None:
    """Installs the filter on aiokafka's loggers; calling it again changes nothing."""
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
            logger.addFilter(RateFilter())
