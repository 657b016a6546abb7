"""Creating, listing and revoking API keys.

The compacted control topic is the only place where they are kept.
"""

from collections.abc import Iterable
from datetime import datetime

from pydantic import ValidationError

from schemas.control import KeyChanged, Scope
from schemas.topics import CONTROL
from services.common.bus.consumer import Start, Tail
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
    tail = Tail(url, "tocsin-keys", topic=CONTROL.name)
    try:
        await tail.start([0], Start.BEGINNING)
        end = (await tail.end_offsets(CONTROL.name, [0]))[0]
        while await tail.position(CONTROL.name, 0) < end:
            for record in await tail.poll(1.0):
                note_key(found, record.key, record.value)
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


def note_key(keys: dict[str, KeyChanged], key: bytes | None, value: bytes | None) -> bool:
    """Enters a record of the control topic into a table of keys.

    False where it is nothing that this version can read.
    """
    if value is None:
        keys.pop((key or b"").decode(errors="replace"), None)
        return True
    try:
        changed = KeyChanged.model_validate_json(value)
    except ValidationError:
        return False
    keys[changed.key_id] = changed
    return True


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
