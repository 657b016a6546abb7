"""CloudEvents 1.0 in Kafka's binary mode: the attributes travel as `ce_*` headers, the
data as the record's value.

Beside the standard attributes an envelope carries `ce_tenant` and, for the ledger,
`ce_sequence`: every incarnation of a producer (`ce_source`) counts the events that it
sends to a topic from 0. Rows in the store keep both, so a lost or doubled event shows
as a gap or a repeat, whatever transaction markers do to the log's offsets.
"""

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Self

Headers = list[tuple[str, bytes]]

_TRACEPARENT = re.compile(rb"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")
_CONTENT_TYPE = ("content-type", b"application/json")
_SPEC_VERSION = ("ce_specversion", b"1.0")


class EnvelopeError(ValueError):
    """A record's headers are not a CloudEvents envelope: the message names what is
    missing or malformed.
    """


@dataclass(frozen=True, slots=True)
class Envelope:
    """Who says what, when, for whom.

    `occurred_at` is aware UTC; `sequence` counts from 0 within (source, topic), -1
    where nobody counts.
    """

    event_id: str
    type: str
    source: str
    occurred_at: datetime
    subject: str
    tenant: str
    sequence: int = -1
    traceparent: str | None = None

    @classmethod
    def create(
        cls,
        *,
        type_: str,
        source: str,
        occurred_at: datetime,
        subject: str,
        tenant: str,
        sequence: int = -1,
        traceparent: str | None = None,
    ) -> Self:
        """A new envelope with an id of its own."""
        return cls(os.urandom(16).hex(), type_, source, occurred_at, subject, tenant, sequence, traceparent)

    def to_headers(self) -> Headers:
        """The envelope as Kafka headers."""
        headers = [
            _SPEC_VERSION,
            _CONTENT_TYPE,
            ("ce_id", self.event_id.encode()),
            ("ce_type", self.type.encode()),
            ("ce_source", self.source.encode()),
            ("ce_time", self.occurred_at.isoformat().encode()),
            ("ce_subject", self.subject.encode()),
            ("ce_tenant", self.tenant.encode()),
        ]
        if self.sequence >= 0:
            headers.append(("ce_sequence", str(self.sequence).encode()))
        if self.traceparent:
            headers.append(("traceparent", self.traceparent.encode()))
        return headers

    @classmethod
    def from_headers(cls, headers: Iterable[tuple[str, bytes]]) -> Self:
        """Reads an envelope.

        Raises:
            EnvelopeError: a required attribute is missing, or one cannot be read.
        """
        found = dict(headers)
        try:
            return cls(
                event_id=found["ce_id"].decode(),
                type=found["ce_type"].decode(),
                source=found["ce_source"].decode(),
                occurred_at=_aware(found["ce_time"]),
                subject=found.get("ce_subject", b"").decode(),
                tenant=found.get("ce_tenant", b"").decode(),
                sequence=int(found.get("ce_sequence", b"-1")),
                traceparent=parse_traceparent(found.get("traceparent")),
            )
        except KeyError as error:
            raise EnvelopeError(
                f"the record has no {error.args[0]} header; producers must send CloudEvents binary mode"
            ) from error
        except ValueError as error:
            raise EnvelopeError(f"a CloudEvents header cannot be read: {error}") from error


def _aware(time: bytes) -> datetime:
    found = datetime.fromisoformat(time.decode())
    if found.tzinfo is None:
        raise ValueError(f"ce_time is {found}, without an offset from UTC")
    return found.astimezone(UTC)


def parse_traceparent(value: bytes | str | None) -> str | None:
    """A W3C trace context as it travels in headers; None where it is not one."""
    given = value.encode(errors="replace") if isinstance(value, str) else value or b""
    return given.decode() if _TRACEPARENT.fullmatch(given) else None


def traceparent_of(headers: Iterable[tuple[str, bytes]]) -> str | None:
    """The trace context among a record's headers, if there is one."""
    return next((parse_traceparent(value) for name, value in headers if name == "traceparent"), None)
