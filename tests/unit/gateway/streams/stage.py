"""A registry and its watchdog on a clock that the test moves."""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from schemas.control import KeyChanged, TenantChanged
from schemas.inference import (
    End,
    InferenceRequested,
    Lane,
    LogPosition,
    Outcome,
    Piece,
    ReplyBeat,
    ReplyChunk,
    ReplyTo,
    RetryNeeded,
)
from services.common.control.state import ControlState
from services.common.process.health import HealthState
from services.gateway.bus.monitor import BusMonitor
from services.gateway.limits.guard import LimitGuard
from services.gateway.limits.limiter import Reservation
from services.gateway.settings import Settings
from services.gateway.streams.admitted import Admitted
from services.gateway.streams.queue_positions import QueuePositions
from services.gateway.streams.reader import ReplyReader
from services.gateway.streams.registry import StreamRegistry
from services.gateway.streams.reply_stream import ReplyStream
from services.gateway.streams.watchdog import Watchdog

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
KEY = KeyChanged(key_id="k", secret_hmac="", name="k", tenant="t", user="jo", created_at=NOW)
CONTROL = ControlState(
    keys={"k": KEY},
    tenants={one: TenantChanged(tenant=one, created_at=NOW) for one in ("t", *"abcdefgh")},
)
ORIGIN = LogPosition(topic="t", partition=0, offset=7)


@dataclass
class FakeOutbox:
    """Keeps what would be sent."""

    asked: list[InferenceRequested] = field(default_factory=list)
    cancelled: list[str] = field(default_factory=list)
    told: list[Any] = field(default_factory=list)

    def ask_again(
        self, request: InferenceRequested, traceparent: str | None, on_ack: Any, on_refused: Any
    ) -> None:
        self.asked.append(request)
        on_ack(ORIGIN)

    def cancel(self, request: InferenceRequested, reason: str) -> None:
        self.cancelled.append(reason)

    def tell_reply_streams(self, reply_to: ReplyTo, message: Any, tenant: str) -> None:
        self.told.append(message)


@dataclass
class Stage:
    """A registry with a clock in the test's hands, and one request that it follows."""

    registry: StreamRegistry
    watchdog: Watchdog
    publisher: FakeOutbox
    reader: ReplyReader
    bus_monitor: BusMonitor
    reading: bool = True
    """Whether the reader reads to the end of its partition before each tick."""
    time_s: float = 0.0
    control: ControlState = field(default_factory=lambda: CONTROL)
    offset: int = 0

    def follow(
        self,
        *,
        stream: bool = True,
        prompt: str = "",
        tenant: str = "t",
        reserved: tuple[LimitGuard, Reservation] | None = None,
        key_id: str = KEY.key_id,
        user: str = "",
        **more: Any,
    ) -> ReplyStream:
        """A reply stream of a new request that has a place."""
        request = InferenceRequested(
            request_id="r",
            kind="chat",
            model="m",
            lane=Lane.INTERACTIVE,
            tenant=tenant,
            key_id=key_id,
            stream=stream,
            prompt=prompt,
            reply_to=ReplyTo(partition=0, gateway_id="g"),
            requested_at=NOW,
            deadline=NOW + timedelta(seconds=60),
        )
        [place] = self.registry.take_slots(tenant)
        admitted = Admitted(request, place, reserved, user=user)
        return self.registry.follow(admitted, self.reader, **more)

    def hear(self, reply_stream: ReplyStream, message: Any) -> None:
        """The next record of the log."""
        self.offset += 1
        reply_stream.hear(self.offset, message, self.time_s, size_bytes=500)

    def pass_time(self, seconds: float) -> None:
        """Lets time pass, looking after everything twice a second."""
        for _ in range(int(seconds * 2)):
            self.time_s += 0.5
            self.tick()

    def tick(self) -> None:
        """The watchdog looks after them."""
        if self.reading:
            self.reader.progress.observe_end(0, asked_at=self.time_s)
        self.watchdog.tick()

    def stand_still(self, seconds: float) -> None:
        """The process is stopped and goes on."""
        self.time_s += seconds

    def read_up(self, *messages: tuple[ReplyStream, Any]) -> None:
        """The reader reads what was written meanwhile, to the present end."""
        behind = self.watchdog.pauses.woke_at(self.time_s) > self.reader.progress.current_at
        for reply_stream, message in messages:
            self.offset += 1
            reply_stream.hear(self.offset, message, self.time_s, size_bytes=500, behind=behind)
        self.reader.progress.observe_end(0, asked_at=self.time_s)
        self.reader._let_act(held=behind)


def chunk(seq: int, text: str = "a", end: End | None = None) -> ReplyChunk:
    """A chunk of the first attempt."""
    return ReplyChunk(
        request_id="r",
        tenant="t",
        attempt=1,
        replica_id="x",
        seq=seq,
        pieces=(Piece(text=text, tokens=1),),
        end=end,
    )


def beat() -> ReplyBeat:
    """A sign of life of the first attempt."""
    return ReplyBeat(request_id="r", attempt=1, replica_id="x")


def lost(attempt: int = 1) -> RetryNeeded:
    """News of a death."""
    return RetryNeeded(request_id="r", tenant="t", attempt=attempt, reason="no heartbeat", origin=ORIGIN)


DONE = End(outcome=Outcome.COMPLETED)


def make_stage(**settings_: Any) -> Stage:
    """A registry on a steady bus."""
    settings = Settings(
        key_pepper="p" * 16, pseudonym_key="p" * 16, max_buffered_bytes=16 * 1524, **settings_
    )  # type: ignore[arg-type]
    reader = ReplyReader("nowhere:1", "test", clock=lambda: made.time_s)
    bus_monitor = BusMonitor(reader.tail, HealthState(), [])
    bus_monitor.steady_since = 0.0
    publisher = FakeOutbox()
    queue_positions = QueuePositions(reader.tail)
    registry = StreamRegistry(settings, publisher, queue_positions, lambda: made.time_s)  # type: ignore[arg-type]
    watchdog = Watchdog(
        registry,
        publisher,  # type: ignore[arg-type]
        bus_monitor,
        queue_positions,
        reader.pauses,
        silence_s=settings.silence_s,
        clock=lambda: NOW + timedelta(seconds=made.time_s),
        monotonic=lambda: made.time_s,
        control=lambda: made.control,
    )
    made = Stage(registry, watchdog, publisher, reader, bus_monitor)
    return made
