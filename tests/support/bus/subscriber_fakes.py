"""A batch for a subscriber, a handler that fails where told, and what it was given."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from aiokafka import ConsumerRecord

from schemas.envelope import Envelope
from schemas.events.feedback import FeedbackSubmitted
from schemas.topics import FEEDBACK
from services.common.bus.dead_letters.dead_letter import Failure
from services.common.bus.subscriber import Event
from tests.support.analyzer.recording import EPOCH


def rating(number: int) -> FeedbackSubmitted:
    """Rating `number`."""
    return FeedbackSubmitted(
        feedback_id=str(number),
        request_id=f"request-{number}",
        tenant="acme",
        key_id="k",
        rating=1,
        submitted_at=EPOCH,
    )


def record(
    offset: int,
    *,
    partition: int = 0,
    event_id: str = "",
    value: bytes | None = b"",
    headers: Sequence[tuple[str, bytes | None]] | None = None,
) -> Any:
    """Rating `offset` as it lies in the log there."""
    envelope = Envelope(
        event_id or f"event-{partition}-{offset}",
        f"tocsin.{FEEDBACK.name}",
        "test/1",
        EPOCH,
        "s",
        "acme",
        offset,
    )
    value = rating(offset).encode() if value == b"" else value
    found = envelope.to_headers() if headers is None else headers
    return ConsumerRecord(
        FEEDBACK.name, partition, offset, 0, 0, b"k", value, None, 1, len(value or b""), tuple(found)
    )


@dataclass
class FakeHandler:
    """Notes the offsets of each call; `fails` says what an offset in a call raises, and
    how often.
    """

    fails: dict[int, tuple[Exception, int]] = field(default_factory=dict)
    calls: list[list[int]] = field(default_factory=list)
    handled: list[int] = field(default_factory=list)
    before: Callable[[], Awaitable[None]] | None = None

    async def __call__(self, events: Sequence[Event[FeedbackSubmitted]]) -> None:
        """Handles them, or raises.

        Raises:
            Exception: the one of the first event that shall fail.
        """
        offsets = [event.record.offset for event in events]
        self.calls.append(offsets)
        if self.before:
            await self.before()
        for offset in offsets:
            error, times = self.fails.get(offset, (Exception(), 0))
            if times:
                self.fails[offset] = (error, times - 1)
                raise error
        self.handled += offsets


@dataclass
class FakeDeadLetters:
    """Keeps what was set aside; raises what it is told to, first."""

    errors: list[Exception] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)

    async def set_aside(self, failures: Sequence[Failure]) -> None:
        """Keeps them.

        Raises:
            Exception: the next of `errors`.
        """
        if self.errors:
            raise self.errors.pop(0)
        self.failures += failures

    @property
    def offsets(self) -> list[int]:
        """Whose."""
        return [one.record.offset for one in self.failures]
