"""The embedded store's HTTP as tools knock on it: upgrades, HEAD, bare GETs, other
origins, its address as it is printed, clients that drip; and what it says to Native
clients of a newer protocol.
"""

import asyncio
import contextlib
import os
import socket
import struct
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from services.embedded.clickhouse.errors import StoreError
from services.embedded.clickhouse.http.request import Body, Request
from tests.support.store import RunningStore, running_store


@pytest.fixture
def table(store: RunningStore) -> Iterator[str]:
    """An empty table."""
    name = f"h_{uuid.uuid4().hex[:8]}"
    assert store.ask(f"CREATE TABLE {name} (a UInt32) ENGINE = MergeTree ORDER BY a").status == 200
    yield name
    store.ask(f"DROP TABLE {name}")


def _raw(store: RunningStore, request: bytes) -> bytes:
    with contextlib.closing(socket.create_connection((store.host, store.port), timeout=20)) as connection:
        with contextlib.suppress(ConnectionResetError, BrokenPipeError):
            connection.sendall(request)
        answer = b""
        with contextlib.suppress(ConnectionResetError):  # cut, with bytes of ours unread
            while piece := connection.recv(65536):
                answer += piece
        return answer


@pytest.mark.parametrize("upgrade", ["h2c", "websocket", "TLS/1.0", "anything"])
def test_insert_that_asks_for_an_upgrade_is_stored(store: RunningStore, table: str, upgrade: str) -> None:
    """Java's HttpClient and `curl --http2` do: the upgrade is ignored, the body is not."""
    body = f"INSERT INTO {table} FORMAT CSV\n1\n2\n".encode()
    head = (
        "POST / HTTP/1.1\r\nHost: x\r\nX-ClickHouse-User: admin\r\n"
        f"X-ClickHouse-Key: {store.passwords['admin']}\r\nConnection: Upgrade, HTTP2-Settings, close\r\n"
        f"Upgrade: {upgrade}\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    assert _raw(store, head.encode() + body).startswith(b"HTTP/1.1 200 ")
    assert store.ask(f"SELECT count() FROM {table}").text == "2"


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("path", ["/", "/ping", "/replicas_status", "/tocsin", "/tocsin/"])
def test_bare_requests_are_answered_without_credentials(store: RunningStore, method: str, path: str) -> None:
    """As a server's; a HEAD has the headers and no body."""
    answer = store.ask(user="nobody", method=method, path=path)
    assert (answer.status, answer.headers["content-length"]) == (200, "4")
    assert answer.body == (b"Ok.\n" if method == "GET" else b"")


def test_head_of_a_query_runs_it_without_a_body(store: RunningStore) -> None:
    """And needs credentials."""
    answer = store.ask(method="HEAD", query="SELECT 1 FORMAT CSV")
    assert (answer.status, answer.body, answer.headers["x-clickhouse-format"]) == (200, b"", "CSV")
    assert store.ask(method="HEAD", query="SELECT 1", user="nobody").status == 401


def test_pages_of_other_origins_are_answered_as_by_a_server(store: RunningStore) -> None:
    """A preflight has no credentials; the answer itself is shown where it was asked for."""
    preflight = store.ask(user="nobody", method="OPTIONS")
    assert preflight.status == 204
    assert "x-clickhouse-key" in preflight.headers["access-control-allow-headers"].lower()
    origin = {"Origin": "http://example.com"}
    shown = store.ask("SELECT 1", headers=origin, add_http_cors_header=1)
    assert shown.headers["access-control-allow-origin"] == "*"
    assert "access-control-allow-origin" not in store.ask("SELECT 1", headers=origin).headers


def test_address_as_it_is_printed_works_in_curl(store: RunningStore) -> None:
    """TOCSIN_CLICKHOUSE_URL has the user and the database in it."""
    for arguments, expected in (([], "Ok."), (["--data-binary", "SELECT currentDatabase()"], "tocsin")):
        command = ["curl", "-sS", "--max-time", "20", *arguments, store.url("analyst")]
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True)
        assert done.stdout.strip() == expected


def test_external_table_is_refused_plainly(store: RunningStore) -> None:
    """The message says what is not supported."""
    parts = b'--x\r\nContent-Disposition: form-data; name="t"; filename="t"\r\n\r\n1\n\r\n--x--\r\n'
    answer = store.ask(
        parts,
        headers={"Content-Type": "multipart/form-data; boundary=x"},
        query="SELECT * FROM t",
        t_structure="a UInt8",
    )
    assert (answer.status, answer.code) == (501, 48)
    assert "does not support external tables" in answer.text


def test_head_without_an_end_is_cut_by_its_size(store: RunningStore) -> None:
    """The store goes on."""
    answer = _raw(store, b"GET / HTTP/1.1\r\n" + b"X-A: b\r\n" * 20_000)
    assert answer[9:12] in (b"431", b"")
    assert store.ask("SELECT 1").text == "1"


async def test_body_that_drips_is_cut() -> None:
    """One byte at a time is always in time, and never done: it must bring something."""

    async def receive() -> dict[str, object]:
        await asyncio.sleep(0.001)  # so that no machine brings 16 KiB in time
        return {"type": "http.request", "body": b"x", "more_body": True}

    body = Body(Request("POST", "/", {}), receive, idle_timeout_s=0.5)
    with pytest.raises(StoreError, match="reading the body"):
        await body.whole(1 << 20)


@pytest.mark.parametrize("zone", ["<+03>-3", "Asia/Tokyo"])
def test_store_is_utc_whatever_the_time_zone_is(
    tmp_path: Path, zone: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """ChDB itself stops at a TZ in POSIX's form."""
    monkeypatch.setenv("TZ", zone)
    with running_store(tmp_path) as store:
        told = store.ask("SELECT timezone(), toString(toDateTime64(0, 3))").text
        assert told == "UTC\t1970-01-01 00:00:00.000"
    assert os.environ["TZ"] == zone


_BLOCK_INFO = b"\x01\x00\x02\xff\xff\xff\xff\x00"


@pytest.mark.parametrize(
    "value",
    [
        *("number", "toString(number)", "toFixedString('ab', 2)", "toDecimal128('1.5', 3)", "toIPv6('::1')"),
        *("[number, 1]", "map('k', [number])", "(number, 'x', NULL)", "toLowCardinality(toString(number))"),
        "if(number = 1, NULL, toString(number))",
        "CAST([], 'Array(LowCardinality(Nullable(String)))')",
        "CAST(tuple(1, 'a'), 'Tuple(`a b` UInt8, s LowCardinality(String))')",
        "CAST('b', 'Enum16(\\'a,(\\' = 1, \\'b\\' = 2)')",
        "toIntervalDay(number)",
        "(1.0, 2.0)::Point",
        "[[(1.0, 2.0)]]::Polygon",
        "toDateTime64(0, 3, 'Europe/Paris')",
        "NULL",
    ],
)
def test_native_of_a_newer_protocol_has_a_mark_for_each_column(store: RunningStore, value: str) -> None:
    """The same blocks, with what the client's revision wants between type and data."""
    sql = f"SELECT {value} AS v, {value} AS w FROM numbers(3) ORDER BY number FORMAT Native"
    plain = store.ask(sql).body
    early, late = (store.ask(sql, client_protocol_version=version).body for version in (54000, 54460))
    assert early == _BLOCK_INFO + plain
    mark = late.index(b"\x01w") + 2
    mark += 1 + late[mark]
    assert late[mark] == 0
    first = late.index(b"\x01v") + 2
    first += 1 + late[first]
    assert late[first] == 0
    assert late[:first] + late[first + 1 : mark] + late[mark + 1 :] == _BLOCK_INFO + plain


def test_native_of_a_type_that_cannot_be_framed_is_refused(store: RunningStore) -> None:
    """By its name, instead of bytes that the client would misread."""
    answer = store.ask("SELECT uniqState(1) FORMAT Native", client_protocol_version=54460)
    assert "AggregateFunction" in answer.text
    assert answer.code == 48
    assert store.ask("SELECT 1 FORMAT Native", client_protocol_version="x").code == 36
    assert struct.unpack_from("<B", store.ask("SELECT toUInt8(7) FORMAT Native").body, -1) == (7,)
