"""What to do with a message that cannot be used: try again a few times, then set it
aside whole in `<topic>.dlq`, with where it was and why.

Setting aside suits the odd bad message. When most are bad, the consumer or its producer
is broken, and emptying the topic into the dead letters would only move the trouble:
then the consumer halts, and the messages stay where they are.
"""

import base64
import hashlib
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

import structlog

from schemas.envelope import Envelope, EnvelopeError
from schemas.events.dead_letters import DeadLettered
from schemas.limits import MAX_RECORD_BYTES
from schemas.topics import dead_letter_name
from services.common.bus import Producer, Record
from services.common.bus.consumers.events import send_all
from services.common.bus.producers.producer import Outgoing
from services.common.clock import Clock, utc_now
from services.common.errors import RecordTooLargeError, TocsinError

log = structlog.get_logger(__name__)


_KEPT_BYTES = 16 * 1024
_KEPT_KEY_CHARS = 1024
_KEPT_HEADERS = 32


class TooManyInvalidError(TocsinError):
    """Too large a share of the messages cannot be used: the process must stop, and
    somebody must look.
    """


@dataclass
class InvalidShare:
    """Watches the share of unusable messages among the last `window`.

    It halts above `limit` (0 to 1), once there were `minimum` of them.
    """

    limit: float = 0.5
    window: int = 100
    minimum: int = 20
    _recent: deque[bool] = field(init=False)
    _invalid: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        self._recent = deque(maxlen=self.window)

    def observe(self, *, valid: bool) -> None:
        """Counts a message.

        Raises:
            TooManyInvalidError: with this one the share is above the limit.
        """
        if len(self._recent) == self.window:
            self._invalid -= not self._recent[0]
        self._recent.append(valid)
        self._invalid += not valid
        if not valid and self._invalid >= self.minimum and self._invalid > self.limit * len(self._recent):
            raise TooManyInvalidError(
                f"{self._invalid} of the last {len(self._recent)} messages cannot be used, more than "
                f"{self.limit:.0%}: halting instead of moving them all to"
                " the dead letters. Deploy the consumer or the producer that fits, then start again; "
                "nothing was lost"
            )


class Failure(NamedTuple):
    """A record that could not be used."""

    record: Record
    error: Exception
    attempts: int = 1


class DeadLetterSink(Protocol):
    """Where records are set aside: `DeadLetters`, or a fake."""

    async def set_aside(self, failures: Sequence[Failure]) -> None:
        """Sends records to their dead-letter topics."""


@dataclass
class DeadLetters:
    """Where one consumer sets records aside."""

    producer: Producer
    consumer: str
    clock: Clock = utc_now
    timeout_s: float = 10.0
    send: Callable[[Producer, Sequence[Outgoing], float], Awaitable[None]] = send_all

    async def set_aside(self, failures: Sequence[Failure]) -> None:
        """Sends records to the dead-letter topics of theirs, and returns when the
        broker has them all. Sending one again does no harm.

        Raises:
            BusUnavailableError: not within `timeout_s`; some may have arrived.
        """
        try:
            await self.send(self.producer, [self._outgoing(one) for one in failures], self.timeout_s)
        except RecordTooLargeError:  # the broker takes less than we do
            cut = [self._outgoing(one, cut=True) for one in failures]
            await self.send(self.producer, cut, self.timeout_s)
        for one in failures:
            log.warning(
                "message_set_aside",
                topic=one.record.topic,
                partition=one.record.partition,
                offset=one.record.offset,
                attempts=one.attempts,
                error_type=type(one.error).__name__,
                error=str(one.error),
            )

    def _outgoing(self, failure: Failure, *, cut: bool = False) -> Outgoing:
        record = failure.record
        envelope = _envelope(record.headers)
        letter = DeadLettered(
            topic=record.topic,
            partition=record.partition,
            offset=record.offset,
            key=record.key.decode(errors="replace") if record.key is not None else None,
            value=_base64(record.value),
            headers=tuple((name, _base64(value)) for name, value in record.headers),
            source=envelope.source if envelope else "",
            sequence=envelope.sequence if envelope else -1,
            consumer=self.consumer,
            attempts=failure.attempts,
            error_type=type(failure.error).__name__,
            error=str(failure.error)[:2000],
            failed_at=self.clock(),
        )
        encoded = letter.encode()
        if cut or len(encoded) > MAX_RECORD_BYTES:
            letter = _cut(letter, record)
            encoded = letter.encode()
        subject = f"{record.topic}/{record.partition}/{record.offset}"
        return Outgoing(
            dead_letter_name(record.topic),
            letter,
            subject=subject,
            tenant=envelope.tenant if envelope else "",
            traceparent=envelope.traceparent if envelope else None,
            encoded=encoded,
        )


def _cut(letter: DeadLettered, record: Record) -> DeadLettered:
    """A letter that fits in any case: the record's beginning, its size and digest. Where
    it was says where the whole can be had while the log keeps it.
    """
    value = record.value or b""
    digest = hashlib.sha256(value).hexdigest()
    note = f"; the record is too large for a dead letter: {len(value)} bytes, sha256 {digest}"
    return letter.model_copy(
        update={
            "key": letter.key[:_KEPT_KEY_CHARS] if letter.key is not None else None,
            "value": _base64(value[:_KEPT_BYTES]),
            "headers": tuple(one for one in letter.headers if len(one[1]) <= _KEPT_KEY_CHARS)[:_KEPT_HEADERS],
            "source": letter.source[:_KEPT_KEY_CHARS],
            "error": letter.error + note,
            "value_bytes": len(value),
            "value_sha256": digest,
        }
    )


def _envelope(headers: Iterable[tuple[str, bytes]]) -> Envelope | None:
    try:
        return Envelope.from_headers([(name, value or b"") for name, value in headers])
    except EnvelopeError:
        return None


def _base64(value: bytes | None) -> str:
    return base64.b64encode(value or b"").decode("ascii")
