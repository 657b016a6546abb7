"""audit.anchors: what the chains' newest rows were, published where the store's owner
cannot take it back.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

import structlog

from schemas.events.audit import ChainAnchored
from schemas.topics import AUDIT_ANCHORS
from services.analyzer.audit.domain.anchoring import ChainState, fault_of, newest, next_anchor
from services.common.bus import MessageReader, Outgoing, Start, Tail
from services.common.clock import Clock
from services.common.errors import BusUnavailableError
from services.common.process import metrics
from services.common.process.health import Reporter

log = structlog.get_logger(__name__)

_READ_TIMEOUT_S = 60.0
_SOON_S = 60.0


class AnchoredTable(Protocol):
    """What anchoring asks of the store: `StoredAuditTable`, or a fake."""

    async def states(self, anchored: Mapping[str, int]) -> Mapping[str, ChainState]:
        """Every chain that has rows or is in `anchored`, which gives the position whose
        hashes are wanted.
        """


@dataclass
class AnchorLog:
    """The topic of anchors."""

    url: str = field(repr=False)
    send: Callable[[Outgoing], Awaitable[object]]
    name: str = "audit-anchors"

    async def read(self) -> list[ChainAnchored]:
        """All anchors that were ever published.

        Raises:
            BusUnavailableError: no broker, or no topic, or it took too long.
        """
        return await read_anchors(self.url, self.name)

    async def publish(self, anchor: ChainAnchored) -> None:
        """Publishes an anchor, once all replicas have it.

        Raises:
            BusUnavailableError: not now; it may have arrived all the same.
        """
        await self.send(Outgoing(AUDIT_ANCHORS.name, anchor, anchor.key, "", key=anchor.key, partition=0))


class Anchors(Protocol):
    """`AnchorLog`, or a fake."""

    async def read(self) -> list[ChainAnchored]:
        """All anchors that were ever published."""

    async def publish(self, anchor: ChainAnchored) -> None:
        """Publishes an anchor."""


@dataclass
class Anchoring:
    """Publishes each chain's newest row once an interval, if it has moved.

    Before that it looks whether the row of the newest former anchor is still the one
    that was published. Where it is not, nothing is published of that chain: an anchor
    would make what was written anew look good.
    """

    table: AnchoredTable
    anchors: Anchors
    health: Reporter
    clock: Clock
    interval_s: float = 3600.0

    async def run(self, stopping: asyncio.Event) -> None:
        """Anchors until `stopping` is set; where it could not, again within a minute."""
        while not stopping.is_set():
            done = await self.attempt()
            pause_s = self._until_next() if done else min(self.interval_s, _SOON_S)
            try:
                await asyncio.wait_for(stopping.wait(), pause_s)
            except TimeoutError:
                continue

    async def attempt(self) -> bool:
        """Anchors what is due; False where that could not be done, whatever the reason:
        entries are chained all the same.
        """
        try:
            wrong = await self.anchor()
        except Exception as error:  # noqa: BLE001  entries are chained meanwhile, whatever it is
            log.warning("audit_not_anchored_yet", error=repr(error))
            self.health.report("anchors", ok=False, detail=str(error))
            return False
        if not wrong:
            self.health.report("anchors", ok=True)
            return True
        self.health.report("anchors", ok=False, detail="; ".join(wrong))
        return False

    async def anchor(self) -> list[str]:
        """Anchors what is due; what is wrong with chains that are not anchored.

        Raises:
            BusUnavailableError, StoreUnavailableError: not now.
        """
        former = newest(await self.anchors.read())
        states = await self.table.states({chain: one.position for chain, one in former.items()})
        wrong = []
        for chain, state in sorted(states.items()):
            if fault := fault_of(state, former.get(chain)):
                metrics.AUDIT_ANCHORS_REFUSED.inc()
                log.critical("audit_not_anchored", chain=chain, fault=fault)
                wrong.append(f"{chain}: {fault}; `tocsin audit verify` names the first wrong row")
                continue
            await self._publish(chain, state, former.get(chain))
        return wrong

    async def _publish(self, chain: str, state: ChainState, former: ChainAnchored | None) -> None:
        anchor = next_anchor(chain, state, former, now=self.clock(), interval_s=self.interval_s)
        if anchor is None:
            return
        await self.anchors.publish(anchor)
        metrics.AUDIT_ANCHORS.inc()
        log.info("audit_anchored", **anchor.model_dump(mode="json"))

    def _until_next(self) -> float:
        """Until the next interval begins (s)."""
        return self.interval_s - self.clock().timestamp() % self.interval_s


async def read_anchors(url: str, name: str, *, connect_timeout_s: float = 60.0) -> list[ChainAnchored]:
    """All anchors in the topic, in its order.

    Raises:
        BusUnavailableError: no broker, or no topic, or it took too long.
    """
    tail = Tail(url, name, topic=AUDIT_ANCHORS.name, connect_timeout_s=connect_timeout_s)
    messages: MessageReader[ChainAnchored] = MessageReader(AUDIT_ANCHORS.model, AUDIT_ANCHORS.name)
    found: list[ChainAnchored] = []
    try:
        async with asyncio.timeout(_READ_TIMEOUT_S):
            await tail.start([0], Start.BEGINNING)
            async for records in tail.read_to_end(poll_s=0.05):
                found += [one for record in records if (one := messages.read(record)) is not None]
    except TimeoutError as error:
        raise BusUnavailableError(f"{AUDIT_ANCHORS.name} was not read within a minute") from error
    finally:
        await tail.close()
    return found
