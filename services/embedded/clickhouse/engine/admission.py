"""How many queries run and how many wait; beyond that a client hears ClickHouse's own
'too many simultaneous queries'.
"""

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass

from services.embedded.clickhouse.errors import StoreError
from services.embedded.clickhouse.users import Role


@dataclass(frozen=True, slots=True)
class AdmissionLimits:
    """Queries at once: in all, of analysts and of gateways among them (so that neither
    can starve the recorder, or the other), waiting of each role, and for how long one
    waits.
    """

    running: int = 16
    analysts_running: int = 6
    gateways_running: int = 3
    waiting: int = 128
    wait_s: float = 10.0


class Admission:
    """Gives each query a slot, in the order of arrival."""

    def __init__(self, limits: AdmissionLimits) -> None:
        self._limits = limits
        self._slots = asyncio.Semaphore(limits.running)
        analysts = asyncio.Semaphore(limits.analysts_running)
        self._own = {
            Role.ANALYST: analysts,
            Role.TENANT_ANALYST: analysts,
            Role.GATEWAY: asyncio.Semaphore(limits.gateways_running),
        }
        self._waiting: Counter[Role] = Counter()

    @contextlib.asynccontextmanager
    async def slot(self, role: Role) -> AsyncIterator[None]:
        """Holds a slot.

        Raises:
            StoreError: TOO_MANY_SIMULTANEOUS_QUERIES (202): too many wait already, or
                the wait was too long.
        """
        async with contextlib.AsyncExitStack() as held:
            await self._enter(held, role)
            yield

    async def _enter(self, held: contextlib.AsyncExitStack, role: Role) -> None:
        if self._waiting[role] >= self._limits.waiting:
            raise self._refusal(f"{self._waiting[role]} are waiting")
        self._waiting[role] += 1
        try:
            async with asyncio.timeout(self._limits.wait_s):
                if role in self._own:
                    await held.enter_async_context(self._own[role])
                await held.enter_async_context(self._slots)
        except TimeoutError:
            raise self._refusal(f"waited {self._limits.wait_s:g} s") from None
        finally:
            self._waiting[role] -= 1

    def _refusal(self, why: str) -> StoreError:
        limits = self._limits
        return StoreError(
            202,
            "TOO_MANY_SIMULTANEOUS_QUERIES",
            f"Too many simultaneous queries. Maximum: {limits.running} ({limits.analysts_running} of "
            f"analysts, {limits.gateways_running} of gateways); {why}. Retry later",
        )
