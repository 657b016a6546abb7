"""Creating, listing and revoking API keys.

The compacted control topic is the only place where they are kept.
"""

from collections.abc import Iterable
from datetime import datetime

from pydantic import TypeAdapter

from schemas.control import KeyChanged, Scope
from schemas.topics import CONTROL
from services.common.bus.consumer import Start, Tail
from services.common.bus.coordinates import Record
from services.common.bus.parsing import MessageReader
from services.common.bus.producer import Outgoing, Producer
from services.common.errors import PermanentError
from services.common.identity import create_key


class NoSuchKeyError(PermanentError):
    """No key has this id."""


async def create(
    url: str,
    *,
    pepper: str,
    name: str,
    tenant: str,
    now: datetime,
    user: str = "",
    scopes: Iterable[Scope] = (Scope.INFER, Scope.FEEDBACK),
    models: Iterable[str] = (),
    expires_at: datetime | None = None,
) -> tuple[str, KeyChanged]:
    """Makes a key known to every gateway.

    Returns the key in clear, which nobody can show again, and its record.

    Raises:
        BusUnavailableError: Kafka did not take it; the key does not exist.
    """
    clear, record = create_key(
        pepper=pepper,
        name=name,
        tenant=tenant,
        now=now,
        user=user,
        scopes=scopes,
        models=models,
        expires_at=expires_at,
    )
    await _publish(url, record)
    return clear, record


async def list_keys(url: str) -> tuple[KeyChanged, ...]:
    """Every key as it now stands, oldest first.

    Raises:
        BusUnavailableError: Kafka or the control topic cannot be read.
    """
    found: dict[str, KeyChanged] = {}
    messages = key_messages()
    tail = Tail(url, "tocsin-keys", topic=CONTROL.name)
    try:
        await tail.start([0], Start.BEGINNING)
        async for records in tail.read_to_end():
            for record in records:
                note_key(found, record, messages)
    finally:
        await tail.close()
    return tuple(sorted(found.values(), key=lambda key: key.created_at))


async def revoke(url: str, key_id: str, *, now: datetime) -> KeyChanged:
    """Ends a key, on every gateway within a second.

    Raises:
        NoSuchKeyError: there is none of this id.
        BusUnavailableError: Kafka did not take it; the key is as it was.
    """
    for key in await list_keys(url):
        if key.key_id == key_id:
            revoked = key.model_copy(update={"revoked_at": now})
            await _publish(url, revoked)
            return revoked
    raise NoSuchKeyError(f"there is no key {key_id!r}; `tocsin keys list` shows those that there are")


def note_key(keys: dict[str, KeyChanged], record: Record, messages: MessageReader[KeyChanged]) -> None:
    """Enters a record of the control topic into a table of keys.

    What this version cannot use is counted, and leaves the table as it is.
    """
    if record.value is None:
        keys.pop((record.key or b"").decode(errors="replace"), None)
    elif (changed := messages.read(record)) is not None:
        keys[changed.key_id] = changed


def key_messages() -> MessageReader[KeyChanged]:
    """A reader of the control topic's keys."""
    return MessageReader(TypeAdapter(KeyChanged), CONTROL.name)


async def _publish(url: str, record: KeyChanged) -> None:
    producer = Producer(url, "tocsin-keys")
    await producer.start(timeout_s=30.0)
    try:
        await producer.send(
            Outgoing(
                topic=CONTROL.name, value=record, subject=record.key_id, tenant=record.tenant, partition=0
            )
        )
    finally:
        await producer.close()
