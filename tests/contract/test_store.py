"""The door to ClickHouse and the migrations, on the real store."""

import asyncio
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from uuid import uuid4

import pytest

from services.common.errors import ConfigError, StoreRejectedError, StoreUnavailableError
from services.common.store import Store, StoreMisconfiguredError, Table
from services.common.store.migrations import MIGRATIONS, migrate, migration_states
from tests.support.analyzer.recording import fresh_database
from tests.support.store import RunningStore


@pytest.fixture
async def door(store: RunningStore) -> AsyncIterator[Store]:
    """A door to a database of the test's own."""
    opened = Store(fresh_database(store), timeout_s=10)
    yield opened
    await opened.close()


async def test_query_with_parameters_returns_rows_by_name(door: Store) -> None:
    """Values travel apart from the statement."""
    assert await door.query("SELECT {a:String} AS a, {n:UInt8} + 1 AS n", {"a": "it's", "n": 2}) == [
        {"a": "it's", "n": 3}
    ]


async def test_query_by_many_at_once_shares_the_connections(door: Store) -> None:
    """More callers than connections wait for one another."""
    answers = await asyncio.gather(
        *(door.query("SELECT {n:UInt32} AS n", {"n": number}) for number in range(50))
    )
    assert [rows[0]["n"] for rows in answers] == list(range(50))


@pytest.mark.parametrize(
    "statement", ["SELEC 1", "SELECT no_such_column", "SELECT throwIf(1)", "SELECT toUInt8('x')"]
)
async def test_query_that_is_wrong_is_refused(door: Store, statement: str) -> None:
    """It will be wrong tomorrow too."""
    with pytest.raises(StoreRejectedError):
        await door.query(statement)


async def test_query_of_a_missing_table_says_what_to_do(door: Store) -> None:
    """An operator can mend it, so it is waited for, with the command in the message."""
    with pytest.raises(StoreMisconfiguredError, match="tocsin migrate"):
        await door.query("SELECT * FROM missing")


async def test_query_with_a_wrong_password_says_so_without_it(store: RunningStore) -> None:
    """The address in the message has no password."""
    door = Store(f"http://service:hunter2@{store.host}:{store.port}/tocsin")
    with pytest.raises(StoreMisconfiguredError, match="password") as caught:
        await door.query("SELECT 1")
    assert "hunter2" not in str(caught.value)
    await door.close()


async def test_query_of_a_store_that_is_not_there_is_unavailable(unused_tcp_port: int) -> None:
    """A refused connection may be accepted later."""
    door = Store(f"http://service:x@127.0.0.1:{unused_tcp_port}/tocsin", timeout_s=2)
    with pytest.raises(StoreUnavailableError):
        await door.query("SELECT 1")
    await door.close()


async def test_query_after_the_store_came_back_works_again(store: RunningStore, door: Store) -> None:
    """One door outlives the store's restarts."""
    await door.query("SELECT 1")
    store.stop(kill=True)
    try:
        with pytest.raises(StoreUnavailableError):
            await door.query("SELECT 1")
    finally:
        store.start()
    await door.start(timeout_s=20)


async def test_query_longer_than_the_timeout_is_given_up(store: RunningStore, door: Store) -> None:
    """Every wait ends."""
    hasty = Store(door.url, timeout_s=0.5)
    with pytest.raises(StoreUnavailableError, match=r"within 0.5 s"):
        await hasty.query("SELECT sleep(2)")
    await hasty.close()
    assert store.pid


async def test_insert_of_no_rows_does_nothing(door: Store) -> None:
    """An empty block needs no round trip."""
    await door.insert(Table("missing", {"a": "String"}), [], token="a")


@pytest.mark.parametrize("url", ["", "127.0.0.1:8123", "http://127.0.0.1:8123", "clickhouse://x/y"])
def test_store_with_a_malformed_address_says_how_it_must_look(url: str) -> None:
    """A wrong setting ends the process with what to set."""
    with pytest.raises(ConfigError, match="http://user:password@host:8123/database"):
        Store(url)


def test_migrate_again_changes_nothing(store: RunningStore) -> None:
    """The second run finds everything applied."""
    url = store.url("admin", f"test_{uuid4().hex[:12]}")
    assert {one.state for one in migration_states(url)} == {"pending"}
    assert len(migrate(url)) == len(list(MIGRATIONS.glob("*.sql")))
    assert migrate(url) == []
    assert {one.state for one in migration_states(url)} == {"applied"}


def test_migrate_with_a_changed_file_refuses(store: RunningStore, tmp_path: Path) -> None:
    """A migration that was applied must stay as it was."""
    url = store.url("admin", f"test_{uuid4().hex[:12]}")
    file = tmp_path / "0001_first.sql"
    file.write_text("CREATE TABLE IF NOT EXISTS first (a UInt8) ENGINE = MergeTree ORDER BY a;")
    assert migrate(url, tmp_path) == ["0001_first"]
    file.write_text("CREATE TABLE IF NOT EXISTS first (a UInt16) ENGINE = MergeTree ORDER BY a;")
    with pytest.raises(ConfigError, match="Add a new file"):
        migrate(url, tmp_path)
    assert [one.state for one in migration_states(url, tmp_path)] == ["changed"]


def test_migrate_that_failed_halfway_goes_on(store: RunningStore, tmp_path: Path) -> None:
    """Statements are written so that the ones already done do no harm."""
    url = store.url("admin", f"test_{uuid4().hex[:12]}")
    file = tmp_path / "0001_first.sql"
    file.write_text(
        "CREATE TABLE IF NOT EXISTS first (a UInt8) ENGINE = MergeTree ORDER BY a; CREATE NONSENSE;"
    )
    with pytest.raises(ConfigError, match="refuses"):
        migrate(url, tmp_path)
    file.write_text(
        "CREATE TABLE IF NOT EXISTS first (a UInt8) ENGINE = MergeTree ORDER BY a; CREATE TABLE IF NOT "
        "EXISTS second (a UInt8) ENGINE = Memory;"
    )
    assert migrate(url, tmp_path) == ["0001_first"]


def test_migrate_of_an_empty_folder_refuses(store: RunningStore, tmp_path: Path) -> None:
    """A checkout without migrations is not a store without tables."""
    with pytest.raises(ConfigError, match="no migrations"):
        migrate(store.url("admin", "tocsin"), tmp_path)


def test_migrate_without_a_store_is_unavailable(unused_tcp_port: int) -> None:
    """It may be there later."""
    with pytest.raises(StoreUnavailableError):
        migrate(f"http://admin:x@127.0.0.1:{unused_tcp_port}/tocsin")


async def test_store_that_hangs_is_told_before_a_statements_own_time_is_over() -> None:
    """A process that was stopped: its socket still takes connections. Statements of commands
    may take minutes, so who waits for one would wait that long for nothing.
    """
    with socket.create_server(("127.0.0.1", 0)) as hung:
        url = f"http://u:secret@127.0.0.1:{hung.getsockname()[1]}/tocsin"
        async with Store(url, timeout_s=3600.0, first_answer_s=0.05) as store:
            for ask in (store.ping, lambda: store.command("SELECT 1")):
                with pytest.raises(StoreUnavailableError, match=r"within 0\.05 s: it hangs") as told:
                    await ask()
                assert "secret" not in str(told.value)
