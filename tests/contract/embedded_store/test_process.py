"""The embedded store as a process: crashes, floods, clients that hang up, orderly ends."""

import base64
import contextlib
import itertools
import json
import os
import socket
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from http.client import HTTPException
from pathlib import Path

import psutil
import pytest

from tests.support.store import RunningStore, running_store

_ENDLESS = "SELECT count() FROM numbers(1000000000000) WHERE sipHash64(number) = 1"
_MIB = 1 << 20
_THIRTEEN = {
    "TSV": b"13\n",
    "JSONEachRow": b'{"a": 13}\n',
    "Native": b"\x01\x01\x01a\x06UInt64" + (13).to_bytes(8, "little"),
}
"""One row, `a` = 13."""


@pytest.fixture
def own_store(tmp_path: Path) -> Iterator[RunningStore]:
    """A store of the test's own, to be killed at will."""
    with running_store(tmp_path) as running:
        yield running


def _until(condition: Callable[[], bool], within_s: float = 30) -> None:
    give_up = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < give_up, "the condition did not come true"
        time.sleep(0.02)


def _running(store: RunningStore, query_id: str) -> bool:
    return (
        store.ask(
            f"SELECT count() FROM system.processes WHERE Settings['log_comment'] = 'query_id={query_id}'"
        ).text
        == "1"
    )


def _table_folder(store: RunningStore, name: str) -> Path:
    return Path(store.ask(f"SELECT data_paths[1] FROM system.tables WHERE name = '{name}'").text)


def _open_request(store: RunningStore, query: str, *, length: int, body: bytes = b"") -> socket.socket:
    """Sends a request's head and some of its body over a socket of the caller's."""
    connection = socket.create_connection((store.host, store.port), timeout=30)
    credentials = base64.b64encode(f"admin:{store.passwords['admin']}".encode()).decode()
    head = (
        f"POST /?{query} HTTP/1.1\r\nHost: store\r\nAuthorization: Basic "
        f"{credentials}\r\nContent-Length: {length}\r\n\r\n"
    )
    connection.sendall(head.encode() + body)
    return connection


@pytest.mark.parametrize(
    "sql",
    [_ENDLESS, "SELECT number, sipHash64(number) FROM numbers(1000000000000) FORMAT CSV"],
    ids=["computing", "streaming"],
)
def test_query_of_a_client_that_hangs_up_is_killed(store: RunningStore, sql: str) -> None:
    """Nobody waits for it, so nothing computes it."""
    query_id = uuid.uuid4().hex
    with contextlib.closing(_open_request(store, f"query_id={query_id}", length=len(sql), body=sql.encode())):
        _until(lambda: _running(store, query_id))
    _until(lambda: not _running(store, query_id))


def test_insert_of_a_client_that_hangs_up_stores_nothing(store: RunningStore) -> None:
    """Half a body is not a block."""
    name = f"p_{uuid.uuid4().hex[:8]}"
    store.ask(f"CREATE TABLE {name} (a UInt32) ENGINE = MergeTree ORDER BY a")
    query_id = uuid.uuid4().hex
    rows = b"".join(b"%d\n" % number for number in range(100_000))
    with contextlib.closing(
        _open_request(
            store,
            f"query=INSERT+INTO+{name}+FORMAT+CSV&query_id={query_id}",
            length=10 * len(rows),
            body=rows,
        )
    ):
        _until(lambda: _running(store, query_id))
    _until(lambda: not _running(store, query_id))
    assert store.ask(f"SELECT count() FROM {name}").text == "0"
    store.ask(f"DROP TABLE {name}")


def test_query_id_and_session_in_use_are_refused(store: RunningStore) -> None:
    """Codes 216 and 373, as on a server."""
    query_id, session = uuid.uuid4().hex, uuid.uuid4().hex
    with contextlib.closing(
        _open_request(
            store, f"query_id={query_id}&session_id={session}", length=len(_ENDLESS), body=_ENDLESS.encode()
        )
    ):
        _until(lambda: _running(store, query_id))
        assert store.ask("SELECT 1", query_id=query_id).code == 216
        assert store.ask("SELECT 1", session_id=session).code == 373
    _until(lambda: not _running(store, query_id))
    _until(lambda: store.ask("SELECT 1", session_id=session).status == 200)


def test_large_insert_takes_no_memory_of_its_size(own_store: RunningStore) -> None:
    """A gigabyte goes in, in pieces, while the process grows by a few blocks of 64 MiB
    and their merges.
    """
    own_store.ask("CREATE TABLE big (a UInt64, s String CODEC(NONE)) ENGINE = MergeTree ORDER BY tuple()")
    line = b"12345678," + b"x" * 990 + b"\n"
    piece, pieces = line * 4096, 256
    process = psutil.Process(own_store.pid)
    before, peak = process.memory_info().rss, 0
    connection = _open_request(own_store, "query=INSERT+INTO+big+FORMAT+CSV", length=len(piece) * pieces)
    with contextlib.closing(connection):
        for _ in range(pieces):
            connection.sendall(piece)
            peak = max(peak, process.memory_info().rss)
        assert connection.recv(15) == b"HTTP/1.1 200 OK"
    assert own_store.ask("SELECT count() FROM big").text == str(4096 * pieces)
    assert peak - before < 600 * _MIB, f"{(peak - before) // _MIB} MiB for {len(piece) * pieces // _MIB} MiB"


def test_large_result_takes_no_memory_of_its_size(own_store: RunningStore) -> None:
    """A gigabyte streams out through a process that does not grow by it; what must be
    whole is refused beyond a limit.
    """
    process = psutil.Process(own_store.pid)
    sql = f"SELECT repeat('x', 1000) FROM numbers({_MIB}) FORMAT TSV SETTINGS max_block_size = 8192".encode()
    before, peak, received = process.memory_info().rss, 0, 0
    with contextlib.closing(
        _open_request(own_store, "enable_http_compression=0", length=len(sql), body=sql)
    ) as connection:
        while received < 1000 * _MIB:
            received += len(connection.recv(4 * _MIB))
            peak = max(peak, process.memory_info().rss)
    assert peak - before < 300 * _MIB, f"{(peak - before) // _MIB} MiB"
    assert own_store.ask(f"SELECT repeat(toString(number), 150) FROM numbers({_MIB}) FORMAT JSON").code == 396


def test_kill_9_under_inserts_loses_and_doubles_nothing(own_store: RunningStore) -> None:
    """Every acknowledged block is there once after crashes, in the table and in the
    view's target, if each is sent again with its token until acknowledged.
    """
    window = "SETTINGS non_replicated_deduplication_window = 1000"
    own_store.ask(f"CREATE TABLE events (source UInt8, n UInt64) ENGINE = MergeTree ORDER BY n {window}")
    own_store.ask(
        f"CREATE TABLE sums (source UInt8, total UInt64) ENGINE = SummingMergeTree ORDER BY source {window}"
    )
    own_store.ask(
        "CREATE MATERIALIZED VIEW writer TO sums AS SELECT source, count() AS total FROM events GROUP BY "
        "source"
    )
    done, acknowledged = threading.Event(), {0: 0, 1: 0}

    def write(source: int) -> None:
        for block in itertools.count():
            rows = b"".join(b"%d,%d\n" % (source, 100 * block + row) for row in range(100))
            query = {
                "query": "INSERT INTO events FORMAT CSV",
                "insert_deduplication_token": f"{source}-{block}",
                "deduplicate_blocks_in_dependent_materialized_views": 1,
            }
            while True:
                with contextlib.suppress(OSError, HTTPException):
                    if own_store.ask(rows, user="service", **query).status == 200:
                        break
                if done.wait(0.01):
                    return
            acknowledged[source] = block + 1
            if done.is_set():
                return

    writers = [threading.Thread(target=write, args=(source,)) for source in acknowledged]
    for writer in writers:
        writer.start()
    try:
        for round_ in range(1, 5):
            _until(lambda least=15 * round_: min(acknowledged.values()) >= least)  # type: ignore[misc]
            own_store.restart(kill=True)
        _until(lambda: min(acknowledged.values()) >= 75)
    finally:
        done.set()
        for writer in writers:
            writer.join(60)
    for source, blocks in acknowledged.items():
        assert (
            own_store.ask(f"SELECT count(), uniqExact(n), max(n) FROM events WHERE source = {source}").text
            == f"{100 * blocks}\t{100 * blocks}\t{100 * blocks - 1}"
        )
        assert own_store.ask(f"SELECT sum(total) FROM sums WHERE source = {source}").text == str(100 * blocks)


@pytest.mark.parametrize("format_", ["TSV", "JSONEachRow", "Native"])
def test_insert_that_fails_behind_the_parser_is_not_acknowledged(store: RunningStore, format_: str) -> None:
    """In the table, in a view, or on the disk: chDB says of all three that they are
    well.
    """
    name, rows = f"failing_{uuid.uuid4().hex[:8]}", _THIRTEEN[format_]
    store.ask(f"CREATE TABLE {name} (a UInt64, CONSTRAINT small CHECK a < 13) ENGINE = MergeTree ORDER BY a")
    store.ask(f"CREATE TABLE {name}_viewed (a UInt64) ENGINE = MergeTree ORDER BY a")
    view = f"CREATE MATERIALIZED VIEW {name}_view ENGINE = MergeTree ORDER BY a"
    store.ask(f"{view} AS SELECT throwIf(a = 13) AS a FROM {name}_viewed")
    store.ask(f"CREATE TABLE {name}_away (a UInt64) ENGINE = MergeTree ORDER BY a")
    folder = _table_folder(store, f"{name}_away")
    away = folder.rename(folder.with_name("away"))
    folder.touch()
    for table in (name, f"{name}_viewed", f"{name}_away"):
        answer = store.ask(rows, query=f"INSERT INTO {table} FORMAT {format_}", user="service")
        assert (answer.status, answer.code) == (500, 1002), table
    folder.unlink()
    away.rename(folder)
    assert store.ask(rows, query=f"INSERT INTO {name}_away FORMAT {format_}", user="service").status == 200
    assert store.ask(f"SELECT count() FROM {name}_away").text == "1"


def test_block_that_is_remembered_but_could_not_be_moved_is_stored_after_a_restart(
    own_store: RunningStore,
) -> None:
    """The store ends instead of taking its repeat for done."""
    window = "SETTINGS non_replicated_deduplication_window = 9"
    own_store.ask(f"CREATE TABLE t (a UInt8) ENGINE = MergeTree ORDER BY a {window}")
    in_the_way = [_table_folder(own_store, "t") / f"all_{number}_{number}_0" for number in range(1, 9)]
    for file in in_the_way:
        file.touch()
    with pytest.raises((OSError, HTTPException)):
        own_store.ask(b"7\n", query="INSERT INTO t FORMAT TSV", insert_deduplication_token="x")
    assert own_store.process is not None
    assert own_store.process.wait(30) == os.EX_SOFTWARE
    for file in in_the_way:
        file.unlink()
    own_store.start()
    for _ in range(2):
        answer = own_store.ask(b"7\n", query="INSERT INTO t FORMAT TSV", insert_deduplication_token="x")
        assert (answer.status, own_store.ask("SELECT a FROM t").text) == (200, "7")


def test_sigterm_ends_it_cleanly_and_data_is_there_again(own_store: RunningStore) -> None:
    """Status 0 also with a query running; the next start has everything."""
    own_store.ask("CREATE TABLE kept (a UInt8) ENGINE = MergeTree ORDER BY a")
    own_store.ask("INSERT INTO kept VALUES (7)")
    query_id = uuid.uuid4().hex
    with contextlib.closing(
        _open_request(own_store, f"query_id={query_id}", length=len(_ENDLESS), body=_ENDLESS.encode())
    ):
        _until(lambda: _running(own_store, query_id))
        assert own_store.stop() == 0
    own_store.start()
    assert own_store.ask("SELECT a FROM kept").text == "7"


def test_second_process_on_the_same_directory_is_refused(own_store: RunningStore) -> None:
    """It says why and ends, and the first goes on."""
    command = [
        sys.executable,
        "-m",
        "services.embedded.clickhouse",
        "--path",
        str(own_store.folder / "data"),
        "--port",
        "0",
    ]
    second = subprocess.run(
        [*command, "--users", str(own_store.folder / "users.json")],
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert second.returncode == 1
    assert b"store cannot start" in second.stderr
    assert own_store.ask("SELECT 1").text == "1"


def test_kafka_engine_is_refused_so_that_the_directory_opens_again(own_store: RunningStore) -> None:
    """A table with it would keep chDB from ever opening the directory again."""
    answer = own_store.ask("CREATE TABLE k (a String) ENGINE = Kafka('127.0.0.1:1', 't', 'g', 'JSONEachRow')")
    assert answer.code == 497
    own_store.restart()
    assert own_store.ask("SELECT 1").text == "1"


def test_too_many_queries_are_told_so(tmp_path: Path) -> None:
    """Code 202 and HTTP 503 after the wait; as soon as there is room, queries run
    again.
    """
    with running_store(tmp_path, "--max-queries", "2", "--max-wait-s", "0.3") as crowded:
        first, second = (
            _open_request(crowded, f"query_id=q{number}", length=len(_ENDLESS), body=_ENDLESS.encode())
            for number in range(2)
        )
        with contextlib.closing(first):
            with contextlib.closing(second):
                _until(lambda: crowded.ask("SELECT 1").code == 202)
                assert crowded.ask("SELECT 1").status == 503
            _until(lambda: crowded.ask("SELECT 1").text == "1")


def test_summary_of_an_insert_counts_its_rows(store: RunningStore) -> None:
    """What a recorder checks against what it sent."""
    name = f"p_{uuid.uuid4().hex[:8]}"
    store.ask(f"CREATE TABLE {name} (a UInt32) ENGINE = MergeTree ORDER BY a")
    answer = store.ask(b"1\n2\n3\n", query=f"INSERT INTO {name} FORMAT CSV")
    assert json.loads(answer.headers["x-clickhouse-summary"])["written_rows"] == "3"
    store.ask(f"DROP TABLE {name}")
