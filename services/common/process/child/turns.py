"""One thing at a time, tenants in turn."""

import asyncio
from collections import OrderedDict, deque
from dataclasses import dataclass, field


@dataclass
class Turns:
    """A lock that whoever holds it hands to the tenant whose turn it is, so that one who
    asks without end keeps the others waiting for one of theirs at most.
    """

    _is_held: bool = field(default=False, init=False)
    _waiting: "OrderedDict[str, deque[asyncio.Future[None]]]" = field(default_factory=OrderedDict, init=False)

    async def acquire(self, tenant: str) -> None:
        """Waits for a turn of this tenant."""
        if not self._is_held:
            self._is_held = True
            return
        waiter = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(tenant, deque()).append(waiter)
        try:
            await waiter
        except BaseException:
            if waiter.done() and not waiter.cancelled():  # it was handed over meanwhile
                self.release()
            else:
                self._forget(tenant, waiter)
            raise

    def release(self) -> None:
        """Hands it to the next tenant, or leaves it free."""
        while self._waiting:
            tenant, waiters = next(iter(self._waiting.items()))
            waiter = waiters.popleft()
            if waiters:
                self._waiting.move_to_end(tenant)
            else:
                del self._waiting[tenant]
            if not waiter.done():
                waiter.set_result(None)
                return
        self._is_held = False

    def _forget(self, tenant: str, waiter: "asyncio.Future[None]") -> None:
        waiters = self._waiting.get(tenant)
        if waiters is not None and waiter in waiters:
            waiters.remove(waiter)
            if not waiters:
                del self._waiting[tenant]
