"""Trying again: `retry` is bounded (named exceptions, jitter, a total timeout; built on
stamina, which counts in Prometheus too), `DependencyRetry` waits for what a consumer
cannot do without.
"""

import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TypeVar

import stamina
import structlog

from services.common.errors import BusUnavailableError, StoreUnavailableError, TransientError
from services.common.process import metrics
from services.common.process.health import Reporter

log = structlog.get_logger(__name__)

Result = TypeVar("Result")
_DEPENDENCIES = ("store", "kafka")


async def retry(
    attempt: Callable[[], Awaitable[Result]],
    *,
    on: type[Exception] | tuple[type[Exception], ...] = TransientError,
    timeout_s: float | None = 30.0,
    attempts: int | None = None,
    wait_max_s: float = 2.0,
) -> Result:
    """Calls `attempt` until it succeeds, waiting 50 ms, then twice as long each time up
    to `wait_max_s`, with jitter.

    Raises:
        Exception: the last failure, once `attempts` or `timeout_s` are spent; at once
            any failure that `on` does not name.
    """
    async for once in stamina.retry_context(
        on=on, attempts=attempts, timeout=timeout_s, wait_initial=0.05, wait_max=wait_max_s, wait_jitter=0.05
    ):
        with once:
            return await attempt()
    raise AssertionError("retry_context ends by returning or raising")


class WaitAbandonedError(Exception):
    """The consumer is stopping; the record is left for its partition's next owner."""


@dataclass(frozen=True, slots=True)
class Pauses:
    """Pauses that double from `first_s` up to `longest_s`, with jitter."""

    first_s: float = 0.1
    longest_s: float = 2.0
    jitter: Callable[[], float] = field(default=lambda: random.uniform(0.5, 1.0))  # noqa: S311  not a secret

    def after(self, attempts: int) -> float:
        """How long to wait after so many attempts (s)."""
        return min(self.longest_s, self.first_s * 2.0 ** min(attempts - 1, 20)) * self.jitter()


@dataclass(frozen=True)
class DependencyRetry:
    """Does what must be done, as often as it takes, while Kafka or the store is away.

    `rest` passes the time. Meanwhile /ready and a metric say what is missing, and the
    log says so once.
    """

    consumer: str
    health: Reporter
    rest: Callable[[float], Awaitable[None]]
    pauses: Pauses = field(default_factory=Pauses)

    async def until_done(
        self,
        attempt: Callable[[], Awaitable[Result]],
        wanted: Callable[[], bool] = lambda: True,
        hurried: Callable[[], bool] = lambda: False,
    ) -> Result | None:
        """Calls `attempt` until it succeeds, and returns its answer; None once it is no
        longer `wanted`. Other failures are raised.

        Raises:
            WaitAbandonedError: something is away, and there is no time to wait for it.
        """
        failed, missing = 0, ""
        while wanted():
            try:
                answer = await attempt()
            except (BusUnavailableError, StoreUnavailableError) as error:
                failed, missing = failed + 1, self._report(error, missing)
                if hurried():
                    raise WaitAbandonedError from error
                await self.rest(self.pauses.after(failed))
            else:
                self._goes_on(missing)
                return answer
        self._goes_on(missing)
        return None

    def _report(self, error: TransientError, missing: str) -> str:
        name = "store" if isinstance(error, StoreUnavailableError) else "kafka"
        if name != missing:
            log.warning("consumer_waits", consumer=self.consumer, dependency=name, error=str(error))
            metrics.CONSUMER_WAITING.labels(self.consumer, name).set(1)
        self.health.report(name, ok=False, detail=str(error))
        return name

    def _goes_on(self, missing: str) -> None:
        if missing:
            log.info("consumer_goes_on", consumer=self.consumer, dependency=missing)
        for name in _DEPENDENCIES:
            self.health.report(name, ok=True)
            metrics.CONSUMER_WAITING.labels(self.consumer, name).set(0)
