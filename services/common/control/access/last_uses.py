"""When keys were last used, as all gateways and consoles told it (`key_uses.py`)."""

import asyncio
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from schemas.events.keys import KeyUsed
from schemas.topics import KEY_USES
from services.common.bus import MessageReader, Record, Start, Tail
from services.common.errors import BusUnavailableError

_READ_TIMEOUT_S = 60.0


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
        """Takes what processes told; of several the latest counts, whatever came last. An
        empty record is that of a key whose owner was erased.
        """
        for record in records:
            if record.value is None:
                self._last.pop((record.key or b"").decode(errors="replace"), None)
                continue
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
