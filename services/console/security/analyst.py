"""Has prompts analysed beside the console's event loop, one at a time, tenants in turn
and within their share of the queue.
"""

from collections import Counter
from collections.abc import Awaitable
from dataclasses import dataclass, field
from typing import Any

from schemas.errors import ErrorCode
from services.common.http.problems import Problem, ProblemError, retry_after, unavailable
from services.common.process import metrics
from services.common.process.child.child_process import ChildProcess
from services.common.process.child.on_demand import Child, NotAnsweredError, OnDemandChild

_MODULE = "services.console.security.child"
_PATIENCE_S, _JOB_S = 10.0, 30.0


def _start() -> Awaitable[Child]:
    return ChildProcess.spawn(_MODULE, OMP_NUM_THREADS="1")


@dataclass
class Analyst:
    """Asks a process that is started for the first prompt (some 200 MB).

    At most `most` calls wait, `most_of_tenant` of one tenant; what they hold is bounded
    by the body's limit.
    """

    child: OnDemandChild = field(default_factory=lambda: OnDemandChild(_start, _PATIENCE_S, _JOB_S))
    most: int = 32
    most_of_tenant: int = 8
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
            return await self._ask(tenant, prompt)
        finally:
            self._waiting[tenant] -= 1
            self._waiting += Counter()  # without those that have none

    async def close(self) -> None:
        """Ends the process."""
        await self.child.close()

    async def _ask(self, tenant: str, prompt: str) -> dict[str, Any]:
        try:
            found: dict[str, Any] = await self.child.ask({"prompt": prompt}, tenant=tenant)
        except NotAnsweredError as error:
            raise _not_now(error.why) from error
        metrics.CONSOLE_ANALYSES.labels("analysed").inc()
        return found


def _not_now(why: str) -> ProblemError:
    metrics.CONSOLE_ANALYSES.labels(why).inc()
    return unavailable(
        "The prompt could not be analysed in time. Try again.", code=ErrorCode.OVERLOADED, retry_after_s=2
    )
