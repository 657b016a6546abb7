"""Has prompts analysed beside the console's event loop, one at a time, tenants within
their share of the queue.
"""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

import structlog

from schemas.errors import ErrorCode
from services.common.http.problems import Problem, ProblemError, retry_after, unavailable
from services.common.process import metrics
from services.common.process.child.child_process import ChildLostError, ChildProcess

log = structlog.get_logger(__name__)

_MODULE = "services.console.security.child"


class Asks(Protocol):
    """`ChildProcess`, as far as it is asked here."""

    @property
    def is_alive(self) -> bool:
        """Whether it runs."""

    async def ask(self, job: Any) -> Any:
        """What a job gives."""

    async def close(self) -> None:
        """Ends it."""


@dataclass
class Analyst:
    """Asks a process that is started for the first prompt (some 200 MB), and replaced
    when it dies or takes longer than `job_s`.

    At most `most` calls wait, `most_of_tenant` of one tenant, each for at most
    `patience_s`; what they hold is bounded by the body's limit.
    """

    start_child: Callable[[], Awaitable[Asks]] = lambda: ChildProcess.spawn(_MODULE, OMP_NUM_THREADS="1")
    most: int = 32
    most_of_tenant: int = 8
    patience_s: float = 10.0
    job_s: float = 30.0
    _child: Asks | None = field(default=None, init=False)
    _turn: asyncio.Lock = field(default_factory=asyncio.Lock, init=False)
    _waiting: "Counter[str]" = field(default_factory=Counter, init=False)

    async def analyse(self, tenant: str, prompt: str) -> dict[str, Any]:
        """What `analysis.analyse` gives.

        Raises:
            ProblemError: 429, the tenant has as many under way as it may; 503, all have,
                or it took too long.
        """
        if self._waiting[tenant] >= self.most_of_tenant:
            metrics.CONSOLE_ANALYSES.labels("tenant_full").inc()
            raise ProblemError(
                Problem(
                    429,
                    ErrorCode.RATE_LIMIT_EXCEEDED,
                    f"{self.most_of_tenant} prompts of this tenant are being analysed. Wait for one.",
                    headers=retry_after(1),
                )
            )
        if self._waiting.total() >= self.most:
            raise _not_now("full")
        self._waiting[tenant] += 1
        try:
            return await self._in_turn(prompt)
        finally:
            self._waiting[tenant] -= 1
            self._waiting += Counter()  # without those that have none

    async def close(self) -> None:
        """Ends the process."""
        child, self._child = self._child, None
        if child is not None:
            await child.close()

    async def _in_turn(self, prompt: str) -> dict[str, Any]:
        try:
            async with asyncio.timeout(self.patience_s):
                await self._turn.acquire()
        except TimeoutError as error:
            raise _not_now("busy") from error
        try:
            found = await self._ask(prompt)
        finally:
            self._turn.release()
        metrics.CONSOLE_ANALYSES.labels("analysed").inc()
        return found

    async def _ask(self, prompt: str) -> dict[str, Any]:
        try:
            async with asyncio.timeout(self.job_s):
                if self._child is not None and not self._child.is_alive:
                    await self.close()
                if self._child is None:
                    self._child = await self.start_child()
                found: dict[str, Any] = await self._child.ask({"prompt": prompt})
                return found
        except (TimeoutError, ChildLostError) as error:
            await self.close()
            log.warning("analysis_process_lost", error=type(error).__name__)
            raise _not_now("timeout" if isinstance(error, TimeoutError) else "lost") from error
        except BaseException:  # its answer would be taken for the next prompt's
            await self.close()
            raise


def _not_now(why: str) -> ProblemError:
    metrics.CONSOLE_ANALYSES.labels(why).inc()
    return unavailable(
        "The prompt could not be analysed in time. Try again.", code=ErrorCode.OVERLOADED, retry_after_s=2
    )
