"""One thing that is looked up where several ask: once for all of them, not too often,
not too long.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

import structlog

from services.common.clock import Clock, MonotonicClock
from services.common.errors import TocsinError
from services.common.process import metrics

log = structlog.get_logger(__name__)


class ReadState(StrEnum):
    """How a look-up went."""

    OK = "ok"
    UNAVAILABLE = "unavailable"
    TIMED_OUT = "timed_out"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Reading:
    """What was found, and when. `data` is None where the look-up did not succeed."""

    state: ReadState
    checked_at: datetime
    took_ms: float
    data: Any = None


@dataclass
class CachedRead:
    """A look-up that never raises: its failure is its state.

    Everybody who asks within `fresh_s` gets the same reading; while one is under way
    the others wait for it. Why one failed is in the log, not in the answer: it may name
    addresses.
    """

    name: str
    read: Callable[[], Awaitable[Any]]
    clock: Clock
    monotonic: MonotonicClock
    timeout_s: float = 3.0
    fresh_s: float = 1.0
    _last: tuple[float, Reading] | None = field(default=None, init=False)
    _reading: "asyncio.Task[Reading] | None" = field(default=None, init=False)

    async def get(self) -> Reading:
        """The present reading."""
        if self._last is not None and self.monotonic() - self._last[0] < self.fresh_s:
            return self._last[1]
        if self._reading is None or self._reading.done():
            self._reading = asyncio.create_task(self._look())
        return await asyncio.shield(self._reading)

    async def close(self) -> None:
        """Gives up a look-up that is under way."""
        if self._reading is not None:
            self._reading.cancel()
            await asyncio.gather(self._reading, return_exceptions=True)

    async def _look(self) -> Reading:
        began = self.monotonic()
        state, data = ReadState.OK, None
        try:
            async with asyncio.timeout(self.timeout_s):
                data = await self.read()
        except TimeoutError:
            state = ReadState.TIMED_OUT
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            # A driver gave up on itself, as aiokafka does where it is closed under way.
            state = ReadState.FAILED
            log.exception("read_failed", part=self.name)
        except TocsinError as error:
            state = ReadState.UNAVAILABLE
            log.warning("read_unavailable", part=self.name, error=str(error))
        except Exception:
            state = ReadState.FAILED
            log.exception("read_failed", part=self.name)
        metrics.CONSOLE_READS.labels(self.name, state.value).inc()
        reading = Reading(state, self.clock(), round((self.monotonic() - began) * 1000, 1), data)
        self._last = (self.monotonic(), reading)
        return reading
