"""The audit log's chain of hashes. Pure.

A row's hash is SHA-256 over the canonical JSON (RFC 8785) of what it says, its place
and the hash of the row before it. What may be personal (`actor_id`, `address`, and the
content: `object_id`, `reason`, `before`, `after`) is in it by a salted digest only, so
that it can be erased, with its salt, and the chain still holds.

A row follows from the log alone: the same entries in the same order give the same rows,
whichever process chains them and however often.
"""

import dataclasses
import hashlib
import hmac
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from schemas.envelope import Envelope
from schemas.events.audit import AuditEntry
from services.common.bus.coordinates import Located

GENESIS = "0" * 64
DELETED = "DELETED"
_FORMAT = "tocsin-audit-1"


@dataclass(frozen=True, slots=True)
class Head:
    """The newest row of a chain: its place, its hash, and its offset in the log."""

    position: int = -1
    hash: str = GENESIS
    offset: int = -1


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditRow:
    """A row of audit_log; the columns' comments say what each is."""

    chain: str
    position: int
    previous_hash: str
    hash: str = ""
    occurred_at: datetime
    tenant: str
    action: str
    outcome: str
    object_kind: str
    entry_id: str
    request_id: str
    actor_kind: str
    actor_id: str
    address: str
    actor_salt: str
    actor_digest: str
    object_id: str
    reason: str
    before: str
    after: str
    content_salt: str
    content_digest: str
    event_id: str
    source: str
    sequence: int
    topic: str
    partition: int
    offset: int

    @property
    def head(self) -> Head:
        """The chain's head once this is its newest row."""
        return Head(self.position, self.hash, self.offset)


def link(head: Head, entry: AuditEntry, envelope: Envelope, located: Located) -> AuditRow:
    """The row that follows `head`.

    Raises:
        ValueError: a text is not Unicode.
    """
    actor_salt, content_salt = _salt(entry.salt, "actor"), _salt(entry.salt, "content")
    actor = (entry.actor.id, entry.actor.address)
    content = (entry.object_id, entry.reason, _json(entry.before), _json(entry.after))
    row = AuditRow(
        chain=chain_name(located.topic, located.partition),
        position=head.position + 1,
        previous_hash=head.hash,
        occurred_at=_to_milliseconds(entry.occurred_at),
        tenant=entry.tenant,
        action=entry.action,
        outcome=entry.outcome,
        object_kind=entry.object_kind,
        entry_id=entry.entry_id,
        request_id=entry.request_id,
        actor_kind=entry.actor.kind,
        actor_id=actor[0],
        address=actor[1],
        actor_salt=actor_salt,
        actor_digest=digest(actor_salt, actor),
        object_id=content[0],
        reason=content[1],
        before=content[2],
        after=content[3],
        content_salt=content_salt,
        content_digest=digest(content_salt, content),
        event_id=envelope.event_id,
        source=envelope.source,
        sequence=envelope.sequence,
        topic=located.topic,
        partition=located.partition,
        offset=located.offset,
    )
    return replace_hash(row)


def exported(row: AuditRow) -> str:
    """The row as a line of an export: JSON, times as they are hashed."""
    return json.dumps(dataclasses.asdict(row) | {"occurred_at": _text(row.occurred_at)}, ensure_ascii=False)


def chain_name(topic: str, partition: int) -> str:
    """A chain is a partition: one order, one writer."""
    return f"{topic}/{partition}"


def digest(salt: str, values: Sequence[str]) -> str:
    """SHA-256 over the salt, a line end and the values as a canonical JSON array."""
    return hashlib.sha256(f"{salt}\n".encode() + _canonical(list(values))).hexdigest()


def row_hash(row: AuditRow) -> str:
    """What a row's hash must be."""
    return hashlib.sha256(
        _canonical(
            {
                "format": _FORMAT,
                "chain": row.chain,
                "position": row.position,
                "previous_hash": row.previous_hash,
                "occurred_at": _text(row.occurred_at),
                "tenant": row.tenant,
                "action": row.action,
                "outcome": row.outcome,
                "object_kind": row.object_kind,
                "entry_id": row.entry_id,
                "request_id": row.request_id,
                "actor_kind": row.actor_kind,
                "actor_digest": row.actor_digest,
                "content_digest": row.content_digest,
                "event_id": row.event_id,
                "source": row.source,
                "sequence": row.sequence,
                "topic": row.topic,
                "partition": row.partition,
                "offset": row.offset,
            }
        )
    ).hexdigest()


def replace_hash(row: AuditRow) -> AuditRow:
    """The row with the hash that it must have."""
    return dataclasses.replace(row, hash=row_hash(row))


def _salt(master: str, group: str) -> str:
    """A salt for each group of values: erasing one says nothing of the other."""
    return hmac.new(master.encode(), group.encode(), hashlib.sha256).hexdigest()


def _canonical(value: object) -> bytes:
    """RFC 8785 for what is hashed here: ASCII keys, strings, and integers below 2^53."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def _json(value: object) -> str:
    return "" if value is None else _canonical(value).decode()


def _to_milliseconds(value: datetime) -> datetime:
    utc = value.astimezone(UTC)
    return utc.replace(microsecond=utc.microsecond // 1000 * 1000)


def _text(value: datetime) -> str:
    return value.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
