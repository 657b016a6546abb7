"""Changes of the control state on a real broker: two readers, two writers."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime
from uuid import uuid4

import pytest

from schemas.control import CONTROL_CHANGE, KeyChanged, Scope, TenantChanged
from schemas.events.audit import AuditEntry
from schemas.topics import AUDIT, CONTROL
from services.common.bus.administration.admin import provision
from services.common.bus.producers.producer import Outgoing, Producer
from services.common.control import changes
from services.common.control.authentication import KeyChecker, Refusal
from services.common.control.errors import InvalidChangeError, StaleError
from services.common.control.reader import ControlReader, Known, read_control_state
from services.common.control.state import ControlState
from tests.support.control import PEPPER, control_writer, make_key
from tests.support.kafka import Broker, read_committed

NOW = datetime.now(UTC)


@pytest.fixture
async def url(kafka: Broker) -> str:
    """A broker with its topics."""
    await provision(kafka.bootstrap, [], 0.125)
    return kafka.bootstrap


@contextlib.asynccontextmanager
async def following(url: str) -> AsyncIterator[ControlReader]:
    """A reader that follows."""
    reader = ControlReader(url, f"test-{uuid4().hex[:6]}")
    await reader.start()
    working = asyncio.create_task(reader.run())
    try:
        yield reader
    finally:
        working.cancel()
        await asyncio.gather(working, return_exceptions=True)
        await reader.close()


def new_tenant() -> TenantChanged:
    """A tenant of the test's own."""
    return TenantChanged(tenant=f"t-{uuid4().hex[:8]}", created_at=NOW)


async def test_change_is_effective_at_every_reader(url: str) -> None:
    """Making a key, narrowing it, revoking it, at two readers."""
    clear, key = await make_key(url)
    checker, writer = KeyChecker(PEPPER), control_writer(url)

    async def seen(reader: ControlReader, version: int) -> None:
        async with asyncio.timeout(10):
            while (found := reader.state.keys.get(key.key_id)) is None or found.version < version:  # noqa: ASYNC110  a reader tells nobody
                await asyncio.sleep(0.005)

    async with following(url) as one, following(url) as other:
        for version, change in (
            (2, changes.edit("key", key.key_id, {"scopes": ["read"]})),
            (3, changes.revoke_key(key.key_id)),
        ):
            await writer.apply(change)
            await asyncio.gather(*(seen(reader, version) for reader in (one, other)))
        for reader in (one, other):
            assert reader.state.keys[key.key_id].scopes == (Scope.READ,)
            outcome = checker.check(reader.state, f"Bearer {clear}", Scope.READ, now=datetime.now(UTC))
            assert outcome is Refusal.REVOKED


async def test_two_writers_at_once_lose_no_update(url: str) -> None:
    """Eight writers add a word each to one tenant's name, reading and writing: all
    words are there. Those with the same ETag: one wins, the others are told.
    """
    tenant = new_tenant()
    await control_writer(url).apply(changes.create(tenant))

    def add(word: str) -> changes.Change:
        def decide(state: changes.ControlState, now: datetime) -> changes.Plan:
            name = f"{state.tenants[tenant.tenant].name} {word}"
            return changes.edit("tenant", tenant.tenant, {"name": name})(state, now)

        return decide

    words = [f"w{number}" for number in range(8)]
    await asyncio.gather(*(control_writer(url).apply(add(word)) for word in words))
    state = await read_control_state(url)
    assert sorted(state.tenants[tenant.tenant].name.split()) == words
    tag = changes.etag(state.tenants[tenant.tenant])
    outcomes = await asyncio.gather(
        *(
            control_writer(url).apply(
                changes.matching(
                    "tenant", tenant.tenant, {tag}, changes.edit("tenant", tenant.tenant, {"name": word})
                )
            )
            for word in words[:3]
        ),
        return_exceptions=True,
    )
    assert [type(one) for one in outcomes].count(TenantChanged) == 1
    assert [type(one) for one in outcomes].count(StaleError) == 2
    assert (await read_control_state(url)).tenants[tenant.tenant].version == 10


async def test_writers_that_begin_at_what_is_known_lose_no_update(url: str) -> None:
    """All at the same old view: what came after it is read before each decides; what is
    in it is not read again.
    """
    tenant, unwritten = new_tenant(), new_tenant()
    await control_writer(url).apply(changes.create(tenant))
    async with following(url) as reader:
        assert reader.known is not None
        state, offset = reader.known
        assert state.tenants[tenant.tenant].name == ""
        marked = replace(state, tenants={**state.tenants, unwritten.tenant: unwritten})

        def add(word: str) -> changes.Change:
            def decide(state: changes.ControlState, now: datetime) -> changes.Plan:
                assert state.tenants[unwritten.tenant] == unwritten
                name = f"{state.tenants[tenant.tenant].name} {word}"
                return changes.edit("tenant", tenant.tenant, {"name": name})(state, now)

            return decide

        words = [f"w{number}" for number in range(5)]
        known = Known(marked, offset)
        writers = [replace(control_writer(url), known=known) for _ in words]
        await asyncio.gather(*(one.apply(add(word)) for one, word in zip(writers, words, strict=True)))
        async with asyncio.timeout(10):
            while reader.state.tenants[tenant.tenant].version < 6:  # noqa: ASYNC110  a reader tells nobody
                await asyncio.sleep(0.005)
        assert sorted(reader.state.tenants[tenant.tenant].name.split()) == words
        assert reader.known.offset > offset


async def test_writer_whose_known_state_is_of_another_topic_reads_all(url: str) -> None:
    """The topic was made anew meanwhile: what was known of the former is not there."""
    tenant, gone = new_tenant(), new_tenant()
    await control_writer(url).apply(changes.create(tenant))
    seen = []

    def decide(state: changes.ControlState, now: datetime) -> changes.Plan:
        seen.append(state)
        return changes.edit("tenant", tenant.tenant, {"name": "found"})(state, now)

    known = Known(ControlState(tenants={gone.tenant: gone}), 10**9)
    entry = await replace(control_writer(url), known=known).apply(decide)
    assert isinstance(entry, TenantChanged)
    assert (entry.name, entry.version) == ("found", 2)
    assert gone.tenant not in seen[-1].tenants


async def test_reader_that_has_not_read_all_knows_nothing_to_begin_at() -> None:
    """A writer that began there would decide on a part."""
    assert ControlReader("127.0.0.1:1", "test").known is None


async def test_change_and_its_audit_entry_come_together_without_secrets(url: str) -> None:
    """Who, what, before and after; a refused change leaves neither."""
    _, key = await make_key(url)
    await control_writer(url).apply(changes.edit("key", key.key_id, {"scopes": ["infer", "admin"]}))
    with pytest.raises(InvalidChangeError):
        await control_writer(url).apply(changes.edit("key", key.key_id, {"scopes": []}))
    for _ in range(2):  # the second changes nothing, and so leaves nothing
        revoked = await control_writer(url).apply(changes.revoke_key(key.key_id))
        assert revoked is not None
        assert revoked.version == 3
    await control_writer(url).apply(changes.purge("key", key.key_id))
    entries = [
        entry
        for record in await _records(url, AUDIT.name)
        if (entry := AuditEntry.model_validate_json(record)).object_id == key.key_id
    ]
    assert [one.action for one in entries] == ["key.created", "key.changed", "key.revoked", "key.purged"]
    changed = entries[1]
    assert changed.before is not None
    assert changed.after is not None
    assert (changed.before["scopes"], changed.after["scopes"]) == (["infer", "feedback"], ["infer", "admin"])
    assert (changed.actor.kind, changed.actor.id, changed.tenant) == ("operator", "tests", "acme")
    texts = "".join(one.model_dump_json() for one in entries)
    assert key.secret_hmac not in texts
    assert "record_mac" not in texts


async def test_key_edited_on_the_bus_neither_authenticates_nor_is_signed_anew(url: str) -> None:
    """Somebody with the bus but without the pepper widens a key: it is refused, and no
    later change of it by an administrator makes the edit good.
    """
    clear, key = await make_key(url)
    producer = Producer(url, "intruder")
    await producer.start()
    widened = key.model_copy(update={"scopes": tuple(Scope), "version": 7})
    await producer.send(Outgoing(CONTROL.name, widened, "x", "acme", key=f"key:{key.key_id}", partition=0))
    await producer.close()
    state = await read_control_state(url)
    assert state.keys[key.key_id].scopes == tuple(Scope)
    checker = KeyChecker(PEPPER)
    assert checker.check(state, f"Bearer {clear}", Scope.ADMIN, now=NOW) is Refusal.UNSIGNED
    for change in (changes.edit("key", key.key_id, {"name": "x"}), changes.revoke_key(key.key_id)):
        with pytest.raises(InvalidChangeError, match="TOCSIN_KEY_PEPPER"):
            await control_writer(url).apply(change)
    await control_writer(url).apply(changes.purge("key", key.key_id))
    assert key.key_id not in (await read_control_state(url)).keys


async def test_removed_key_does_not_come_back_from_an_older_releases_record(url: str) -> None:
    """Keys were once keyed by their plain id: removal empties both names, so that
    compaction leaves neither.
    """
    _, key = await make_key(url)
    old = key.model_copy(update={"version": 0, "record_mac": ""})
    producer = Producer(url, "older-release")
    await producer.start()
    await producer.send(Outgoing(CONTROL.name, old, key.key_id, "acme", partition=0))
    await producer.close()
    await control_writer(url).apply(changes.purge("key", key.key_id))
    last = {one.key: one.value for one in await read_committed(url, CONTROL.name)}
    assert (last[key.key_id.encode()], last[f"key:{key.key_id}".encode()]) == (None, None)


async def test_every_written_record_is_signed_and_numbered(url: str) -> None:
    """What a writer leaves on the bus is what it returned."""
    _, key = await make_key(url)
    records = [
        CONTROL_CHANGE.validate_json(one.value)
        for one in await read_committed(url, CONTROL.name)
        if one.value is not None and one.key == f"key:{key.key_id}".encode()
    ]
    assert records == [key]
    assert isinstance(key, KeyChanged)
    assert (key.version, key.changed_by, bool(key.record_mac)) == (1, "operator:tests", True)


async def _records(url: str, topic: str) -> list[bytes]:
    return [one.value for one in await read_committed(url, topic) if one.value is not None]
