"""The audit role as a process, on a real Kafka and the embedded store."""

import asyncio
import dataclasses
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime

import httpx
import pytest

from schemas.control import TenantChanged
from schemas.topics import AUDIT
from services.analyzer.audit.domain.chain import DELETED, AuditRow, replace_hash
from services.analyzer.audit.domain.verification import Verdict, verify
from services.analyzer.audit.table import AUDIT_ROWS, ForkedChainError, StoredAuditTable
from services.common.bus import Outgoing
from services.common.bus.administration.admin import committed_offsets
from services.common.bus.coordinates import TopicPartition
from services.common.control import changes
from services.common.store import Store
from services.embedded.installation.ports import free_port
from tests.support.analyzer.audit_fakes import chain, entry
from tests.support.analyzer.recorder_scene import Scene
from tests.support.analyzer.recording import CountingProducer, Unreadable, eventually, fresh_database, ledger
from tests.support.control import control_writer
from tests.support.store import RunningStore

pytestmark = pytest.mark.timeout(300)
_PLACE = TopicPartition(AUDIT.name, 0)


async def _rows(store: Store) -> list[AuditRow]:
    names = ", ".join(AUDIT_ROWS.table.columns)
    found = await store.query(f"SELECT {names} FROM audit_log FINAL ORDER BY position, hash")
    return [AuditRow(**one) for one in found]


@pytest.fixture
async def producer(scene: Scene) -> AsyncIterator[CountingProducer]:
    """Who publishes entries, counted."""
    made = CountingProducer(scene.broker.bootstrap, "console", timeout_s=60)
    await made.start()
    yield made
    await made.close()


async def _publish(producer: CountingProducer, numbers: Sequence[int], *, unreadable: int = -1) -> None:
    sent = [
        await producer.send_soon(
            Outgoing(
                AUDIT.name,
                Unreadable() if number == unreadable else entry(number),
                subject=f"object-{number}",
                tenant="acme",
            )
        )
        for number in numbers
    ]
    await asyncio.gather(*sent)


async def test_entries_are_one_whole_chain_whoever_is_killed(
    scene: Scene, producer: CountingProducer
) -> None:
    """Kill -9 of the analyzer and of the store under load: no fork, no gap, no double;
    what is unreadable is set aside and counted.
    """
    analyzer = scene.another_recorder(TOCSIN_CONSUMER_SESSION_TIMEOUT_S="3")
    analyzer.start()
    try:
        for part in range(6):
            await _publish(producer, range(part * 50, part * 50 + 50), unreadable=77)
            if part in (1, 4):
                await eventually(lambda: _count(scene, 1), within_s=60, what="the first row")
                analyzer.kill()
                analyzer.start()
            if part == 3:
                await asyncio.to_thread(scene.running_store.restart, kill=True)
        await eventually(lambda: _count(scene, 299), within_s=120, what="every entry is chained")
        await eventually(lambda: _whole(scene, producer), within_s=60, what="the ledger has all")
    finally:
        analyzer.kill()
    rows = await _rows(scene.store)
    assert verify(rows) == Verdict(299, rows[-1].hash, 0)
    assert [row.sequence for row in rows] == [number for number in range(300) if number != 77]


async def test_store_that_was_set_back_is_filled_again_from_the_log(
    scene: Scene, producer: CountingProducer
) -> None:
    """The chain goes on from the store's newest row, not from what the group committed."""
    environment = {"TOCSIN_ANALYZER_ROLES": "audit", "TOCSIN_CONSUMER_SESSION_TIMEOUT_S": "3"}
    analyzer = scene.another_recorder(**environment)
    analyzer.start()
    try:
        await _publish(producer, range(40))
        await eventually(lambda: _count(scene, 40), within_s=60, what="forty rows")
        assert analyzer.terminate() == 0
        await scene.store.command(
            "ALTER TABLE audit_log DELETE WHERE position >= 25 SETTINGS mutations_sync = 2"
        )
        analyzer.start()
        await _publish(producer, range(40, 45))
        await eventually(lambda: _count(scene, 45), within_s=60, what="all rows again")
    finally:
        analyzer.kill()
    rows = await _rows(scene.store)
    assert verify(rows).first_break is None
    assert [row.entry_id for row in rows] == [f"entry-{number}" for number in range(45)]


async def test_forked_chain_halts_the_audit_role_alone(scene: Scene, producer: CountingProducer) -> None:
    """A row that somebody else wrote: no entry is chained behind it, /ready says why, and
    the recorder records on. Mended as the documentation says, the chain is whole.
    """
    port = free_port()
    environment = {"TOCSIN_CONSUMER_SESSION_TIMEOUT_S": "3", "TOCSIN_HEALTH_PORT": str(port)}
    analyzer = scene.another_recorder(**environment)
    rows = chain(10)
    forged = replace_hash(dataclasses.replace(rows[7], reason="forged"))
    await _publish(producer, range(20))
    analyzer.start()
    try:
        await eventually(lambda: _committed(scene, 20), within_s=60, what="twenty rows, and that is noted")
        await scene.store.insert(AUDIT_ROWS.table, [AUDIT_ROWS.row(forged)], token="forged")
        await _publish(producer, range(20, 25))
        await eventually(lambda: _says(port, "audit.chain"), within_s=60, what="/ready names the chain")
        assert "audit_halted" in analyzer.output
        await scene.source.send(20)
        await scene.all_recorded()
        assert await _count(scene, 21)
        assert not await _count(scene, 22)
        assert analyzer.terminate() == 0
        await scene.store.command(
            "ALTER TABLE audit_log DELETE WHERE position >= 7 SETTINGS mutations_sync = 2"
        )
        analyzer.start()
        await eventually(lambda: _count(scene, 25), within_s=60, what="all rows again")
    finally:
        analyzer.kill()
    assert verify(await _rows(scene.store)).first_break is None
    assert analyzer.output.count("consumer_goes_back") == 1


async def test_restarts_between_transactions_go_back_to_nothing(scene: Scene) -> None:
    """Each change of control state writes its entry in a transaction, whose marker takes
    an offset: that is no entry which is missing.
    """
    analyzer = scene.another_recorder(TOCSIN_ANALYZER_ROLES="audit", TOCSIN_CONSUMER_SESSION_TIMEOUT_S="3")
    writer = control_writer(scene.broker.bootstrap)
    try:
        for number in range(3):
            await writer.apply(
                changes.create(TenantChanged(tenant=f"tenant-{number}", created_at=datetime.now(UTC)))
            )
            analyzer.start()
            await eventually(
                lambda wanted=number + 1: _count(scene, wanted), within_s=60, what="the change is chained"
            )
            assert analyzer.terminate() == 0
    finally:
        analyzer.kill()
    assert "consumer_goes_back" not in analyzer.output
    assert verify(await _rows(scene.store)).first_break is None


async def _says(port: int, name: str) -> bool:
    async with httpx.AsyncClient() as client:
        told = (await client.get(f"http://127.0.0.1:{port}/ready")).json()
    return told["dependencies"].get(name, {}).get("ok") is False and not told["ready"]


async def test_table_keeps_what_is_hashed_and_equal_rows_fall_together(store: RunningStore) -> None:
    """Values come back as they were hashed; blocks that overlap leave one row a place; a
    fork stays; an erasure in the store leaves the chain whole.
    """
    door = Store(fresh_database(store))
    table, rows = StoredAuditTable(door), chain(30)
    assert (await table.head(_PLACE)).position == -1
    await table.insert(rows[:20], token="a")
    await table.insert(rows[10:30], token="b")
    assert await table.head(_PLACE) == rows[-1].head
    assert await _rows(door) == rows
    await door.command(
        f"ALTER TABLE audit_log UPDATE actor_id = '{DELETED}', address = '', actor_salt = '' "
        "WHERE actor_id = 'key-1' SETTINGS mutations_sync = 2"
    )
    assert verify(await _rows(door)) == Verdict(30, rows[-1].hash, 10)
    forged = dataclasses.replace(rows[7], hash="0" * 64)
    await door.insert(AUDIT_ROWS.table, [AUDIT_ROWS.row(forged)], token="forged")
    found = verify(await _rows(door)).first_break
    with pytest.raises(ForkedChainError, match="two rows at position 7 of the chain"):
        await table.head(_PLACE)
    await door.insert(AUDIT_ROWS.table, [AUDIT_ROWS.row(row) for row in chain(1600)[30:]], token="more")
    assert (await table.head(_PLACE)).position == 1599  # the newest rows are looked at before each block
    with pytest.raises(ForkedChainError, match="two rows at position 7 of the chain"):
        await table.head(_PLACE, whole=True)  # and all of them by each new owner
    await door.close()
    assert found is not None
    assert found.position == 7


def test_table_columns_are_those_of_a_row() -> None:
    """Each column has a value."""
    assert list(AUDIT_ROWS.table.columns) == [one.name for one in dataclasses.fields(AuditRow)]


async def test_columns_are_those_of_the_migrated_table(store: RunningStore) -> None:
    """The same names and types, each with a comment."""
    door = Store(fresh_database(store))
    found = await door.query(
        "SELECT name, type, comment, default_kind FROM system.columns WHERE database = currentDatabase() "
        "AND table = 'audit_log'"
    )
    await door.close()
    assert {one["name"]: one["type"] for one in found if not one["default_kind"]} == dict(
        AUDIT_ROWS.table.columns
    )
    assert all(one["comment"] for one in found)


async def _count(scene: Scene, count: int) -> bool:
    found = await scene.store.query("SELECT count() AS n FROM audit_log FINAL")
    return bool(found[0]["n"] >= count)


async def _committed(scene: Scene, count: int) -> bool:
    """The group has noted that so many entries are dealt with; their rows come before."""
    offsets = await committed_offsets(scene.broker.bootstrap, "audit")
    return sum(one.offset for one in offsets.values()) == count


async def _whole(scene: Scene, producer: CountingProducer) -> bool:
    """The ledger has every entry once, the one that was set aside among them."""
    row = await ledger(scene.store, producer.source)
    return bool(row) and (row["rows"], row["dead_lettered"], row["gaps"], row["doubles"]) == (299, 1, 0, 0)
