"""When keys were last used: each gateway and console tells it to all, coarsely.

A key's use is told at most once in `every_s` by each process, and within `flush_s`; so
what is known lags by up to their sum, and a process that is killed takes at most
`flush_s` of it along.
"""

import asyncio
import contextlib
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import structlog

from schemas.events.keys import KeyUsed
from schemas.topics import KEY_USES
from services.common.bus import MessageReader, Outgoing, Record, Start, Tail
from services.common.control.principal import Principal
from services.common.errors import BusUnavailableError, PermanentError
from services.common.process import metrics

log = structlog.get_logger(__name__)

Send = Callable[[Outgoing], Awaitable[object]]

_AT_ONCE = 100
_READ_TIMEOUT_S = 60.0


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


@dataclass
class LastUses:
    """When each key was last used, as all processes told it. At most `capacity` keys:
    of more those are forgotten that were used longest ago.
    """

    url: str = field(repr=False)
    name: str
    capacity: int = 1_000_000
    _tail: Tail = field(init=False)
    _last: "OrderedDict[str, datetime]" = field(default_factory=OrderedDict, init=False)
    _messages: "MessageReader[KeyUsed]" = field(
        default_factory=lambda: MessageReader(KEY_USES.model, KEY_USES.name), init=False
    )

    def __post_init__(self) -> None:
        self._tail = Tail(self.url, f"{self.name}-key-uses", topic=KEY_USES.name)

    def of(self, key_id: str) -> datetime | None:
        """When a key was last used; None where it never was, or not since it counts."""
        return self._last.get(key_id)

    def all(self) -> Mapping[str, datetime]:
        """Every key's."""
        return self._last

    async def start(self) -> None:
        """Connects, and reads what there is.

        Raises:
            BusUnavailableError: no broker, or no topic, or it took too long.
        """
        await self._tail.start([0], Start.BEGINNING)
        try:
            async with asyncio.timeout(_READ_TIMEOUT_S):
                async for records in self._tail.read_to_end(poll_s=0.05):
                    self.take(records)
        except TimeoutError as error:
            raise BusUnavailableError(
                f"{KEY_USES.name} could not be read within {_READ_TIMEOUT_S} s"
            ) from error

    async def run(self) -> None:
        """Follows, until cancelled."""
        while True:
            self.take(await self._tail.poll())

    async def close(self) -> None:
        """Disconnects."""
        await self._tail.close()

    def take(self, records: Iterable[Record]) -> None:
        """Takes what processes told; of several the latest counts, whatever came last."""
        for record in records:
            use = self._messages.read(record)
            if use is None:
                continue
            known = self._last.pop(use.key_id, use.last_used_at)
            self._last[use.key_id] = max(known, use.last_used_at)
            if len(self._last) > self.capacity:
                self._last.popitem(last=False)


async def read_last_uses(url: str) -> LastUses:
    """The last uses as they are known now.

    Raises:
        BusUnavailableError: they cannot be read.
    """
    uses = LastUses(url, "look")
    try:
        await uses.start()
        return uses
    finally:
        await uses.close()
