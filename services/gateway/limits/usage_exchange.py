"""Carries each gateway's part in the limits over the bus, four times a second or, where
a limit's use changes fast, every 25 ms.

At its start a gateway reads back what was used, so that no limit begins anew with it.
"""

import asyncio
import contextlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import structlog
from pydantic import TypeAdapter

from schemas.events.gateways.limits import LimitShares
from schemas.topics import LIMIT_SHARES
from services.common.bus import MessageReader, Outgoing, Producer, Record, Start, Tail
from services.common.clock import MonotonicClock
from services.common.errors import BusUnavailableError, PermanentError
from services.common.process import metrics
from services.gateway.limits.peer_usage import REPEAT_S, PeerUsage

log = structlog.get_logger(__name__)

OnUsed = Callable[[str, float, float], None]

_INTERVAL_S = 0.25
_SHORTEST_S = 0.025
_SIGN_OF_LIFE_S = 1.0
_READ_BACK_S = 3600.0
_READ_BACK_TIMEOUT_S = 15.0
_FINAL_SEND_TIMEOUT_S = 2.0


@dataclass
class UsageExchange:
    """Publishes this gateway's part and follows the others'.

    `on_used` hears of what another gateway used, and when (monotonic seconds).
    """

    tail: Tail
    producer: Producer
    peer_usage: PeerUsage
    now_ms: Callable[[], int]
    monotonic: MonotonicClock
    on_used: OnUsed
    read_back_timeout_s: float = _READ_BACK_TIMEOUT_S
    _messages: "MessageReader[LimitShares]" = field(
        default_factory=lambda: MessageReader(TypeAdapter(LimitShares), LIMIT_SHARES.name), init=False
    )
    _hurried: asyncio.Event = field(default_factory=asyncio.Event, init=False)

    def publish_soon(self) -> None:
        """Tells the others soon."""
        if self.peer_usage.live:
            self._hurried.set()

    def ask_soon(self) -> None:
        """The same, and the others shall tell soon that they have read it."""
        if self.peer_usage.live:
            self.peer_usage.wants_answer = True
            self._hurried.set()

    async def start(self) -> None:
        """Connects, and reads what was used in the last hour, where that can be had in
        time: else it is forgotten, since read later, as if it were used then, it would
        keep callers out.

        Raises:
            BusUnavailableError: no broker, or no such topic.
        """
        await self.tail.start([0], Start.END)
        since_ms = int(self.now_ms() - _READ_BACK_S * 1000)
        ends: dict[int, int] = {}
        try:
            async with asyncio.timeout(self.read_back_timeout_s):
                begin = await self.tail.offsets_at(LIMIT_SHARES.name, [0], since_ms)
                ends = await self.tail.end_offsets(LIMIT_SHARES.name, [0])
                self.tail.seek(LIMIT_SHARES.name, 0, begin[0])
                async for records in self.tail.read_to_end(ends):
                    self._take(records, self.now_ms())
        except TimeoutError:
            for partition, offset in ends.items():
                self.tail.seek(LIMIT_SHARES.name, partition, offset)
            self.peer_usage.complete_from_s = self.monotonic() + REPEAT_S
            log.warning(
                "limits_not_read_back",
                timeout_s=self.read_back_timeout_s,
                effect="what was used before this start, and not read by now, counts no more; hard budgets "
                "let nothing in until the other gateways have told again what they hold",
            )

    async def run(self) -> None:
        """Publishes and follows, until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._publish())
            tasks.create_task(self._follow())

    async def close(self) -> None:
        """Tells the others that nothing is held here any more, and disconnects."""
        with contextlib.suppress(BusUnavailableError, PermanentError, TimeoutError):
            async with asyncio.timeout(_FINAL_SEND_TIMEOUT_S):
                await self._send(self.peer_usage.final_record())
        await self.tail.close()

    async def _follow(self) -> None:
        while True:
            records = await self.tail.poll()
            if records:
                self.peer_usage.resume(self.monotonic())
            self._take(records, None)
            if self.peer_usage.owes_answer:
                self._hurried.set()
            metrics.LIMITS_SHARES.set(self.peer_usage.live + 1)
            if self.peer_usage.passed_over:
                metrics.LIMITS_PASSED_OVER.labels("peers").inc(self.peer_usage.passed_over)
                self.peer_usage.passed_over = 0

    def _take(self, records: Iterable[Record], now_ms: int | None) -> None:
        """Takes records as heard now, or where `now_ms` is given, when the broker
        appended them.
        """
        now_s = self.monotonic()
        for record in records:
            told = self._messages.read(record)
            if told is not None:
                at_s = now_s if now_ms is None else now_s - max(0, now_ms - record.timestamp) / 1000
                for name, seconds in self.peer_usage.apply(told, at_s, record.offset).items():
                    self.on_used(name, seconds, at_s)

    async def _publish(self) -> None:
        told_s = float("-inf")
        while True:
            self._hurried.clear()
            if self.peer_usage.has_news or self.monotonic() - told_s >= _SIGN_OF_LIFE_S:
                told_s = self.monotonic()
                with contextlib.suppress(BusUnavailableError, PermanentError):
                    await self._send(self.peer_usage.take(told_s))
            await asyncio.sleep(_SHORTEST_S)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_INTERVAL_S - _SHORTEST_S):
                    await self._hurried.wait()

    async def _send(self, record: LimitShares) -> None:
        """Sends a record, and waits until the bus has it: what the bus does not take
        comes with the next, which therefore is not made before.
        """
        try:
            sent = await self.producer.send_soon(
                Outgoing(LIMIT_SHARES.name, record, subject=record.gateway_id, tenant="", partition=0)
            )
            await sent
        except (BusUnavailableError, PermanentError):
            metrics.LIMITS_UNTOLD.inc()
            self.peer_usage.requeue(record)
            raise
