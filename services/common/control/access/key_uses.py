"""Uses of keys: each gateway and console tells them to all, coarsely.

A key's use is told at most once in `every_s` by each process, and within `flush_s`; so
what is known lags by up to their sum, and a process that is killed takes at most
`flush_s` of it along.
"""

import asyncio
import contextlib
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import structlog

from schemas.events.keys import KeyUsed
from schemas.topics import KEY_USES
from services.common.bus import Outgoing
from services.common.control.principal import Principal
from services.common.errors import BusUnavailableError, PermanentError
from services.common.process import metrics

log = structlog.get_logger(__name__)

Send = Callable[[Outgoing], Awaitable[object]]

_AT_ONCE = 100


@dataclass
class KeyUses:
    """Notes uses, and tells the bus of them in the background. Remembers `capacity`
    keys; one that was forgotten is told a little more often.
    """

    send: Send
    every: timedelta = timedelta(seconds=60)
    flush_s: float = 5.0
    capacity: int = 65_536
    _told: "OrderedDict[str, datetime]" = field(default_factory=OrderedDict, init=False)
    _untold: dict[str, KeyUsed] = field(default_factory=dict, init=False)
    _tenants: dict[str, str] = field(default_factory=dict, init=False)

    def note(self, caller: Principal, now: datetime) -> None:
        """A caller was let in."""
        key_id = caller.key_id
        told = self._told.get(key_id)
        if (told is not None and now - told < self.every) or not key_id:
            return
        if len(self._told) >= self.capacity and told is None:
            self._told.popitem(last=False)
        self._told[key_id] = now
        self._untold[key_id] = KeyUsed(key_id=key_id, last_used_at=now)
        self._tenants[key_id] = caller.tenant

    async def run(self) -> None:
        """Tells of uses, until cancelled."""
        while True:
            await asyncio.sleep(self.flush_s)
            await self.flush()

    async def flush(self) -> None:
        """Tells of what is not told yet. What Kafka does not take is counted and left:
        the key's next use tells more.
        """
        untold, self._untold = self._untold, {}
        tenants, self._tenants = self._tenants, {}
        uses = list(untold.values())
        for begin in range(0, len(uses), _AT_ONCE):
            sent = await asyncio.gather(
                *(self._tell(use, tenants[use.key_id]) for use in uses[begin : begin + _AT_ONCE])
            )
            if not any(sent):
                metrics.AUTH_USES_UNTOLD.inc(len(uses) - begin)
                log.warning("key_uses_untold", count=len(uses) - begin)
                return

    async def _tell(self, use: KeyUsed, tenant: str) -> bool:
        with contextlib.suppress(BusUnavailableError, PermanentError, TimeoutError):
            await self.send(Outgoing(KEY_USES.name, use, use.key_id, tenant, key=use.key_id, partition=0))
            return True
        return False
