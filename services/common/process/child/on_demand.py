"""A child process that is started for the first job, and replaced when it is lost."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import structlog

from services.common.process.child.child_process import ChildLostError
from services.common.process.child.turns import Turns

log = structlog.get_logger(__name__)


class Child(Protocol):
    """`ChildProcess`, as far as it is asked here."""

    @property
    def is_alive(self) -> bool:
        """Whether it runs."""

    async def ask(self, job: Any) -> Any:
        """What a job gives."""

    async def close(self) -> None:
        """Ends it."""


class NotAnsweredError(Exception):
    """A job was not done: its turn did not come (busy), it took too long (timeout), or
    the process ended over it or did not start (lost).
    """

    def __init__(self, why: Literal["busy", "timeout", "lost"]) -> None:
        super().__init__(why)
        self.why = why


@dataclass
class OnDemandChild:
    """Does one job at a time, tenants in turn. Each waits for at most `patience_s`; one
    that then takes longer than `job_s` costs the process its life.
    """

    start: Callable[[], Awaitable[Child]]
    patience_s: float
    job_s: float
    child: Child | None = field(default=None, init=False)
    _turns: Turns = field(default_factory=Turns, init=False)

    async def ask(self, job: Any, *, tenant: str) -> Any:
        """What a tenant's job gives.

        Raises:
            NotAnsweredError: not now.
        """
        try:
            async with asyncio.timeout(self.patience_s):
                await self._turns.acquire(tenant)
        except TimeoutError as error:
            raise NotAnsweredError("busy") from error
        try:
            return await self._ask(job)
        finally:
            self._turns.release()

    async def close(self) -> None:
        """Ends the process."""
        child, self.child = self.child, None
        if child is not None:
            await child.close()

    async def _ask(self, job: Any) -> Any:
        try:
            async with asyncio.timeout(self.job_s):
                if self.child is not None and not self.child.is_alive:
                    await self.close()
                if self.child is None:
                    self.child = await self.start()
                return await self.child.ask(job)
        except (TimeoutError, ChildLostError) as error:
            await self.close()
            log.warning("child_process_lost", error=repr(error))
            raise NotAnsweredError("timeout" if isinstance(error, TimeoutError) else "lost") from error
        except BaseException:  # its answer would be taken for the next job's
            await self.close()
            raise
