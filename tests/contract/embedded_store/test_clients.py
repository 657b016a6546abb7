"""The embedded store as clickhouse-connect sees it, sync and async: nothing tells it
from a server.
"""

import contextlib
import datetime as dt
import decimal
import ipaddress
import uuid
from collections.abc import AsyncIterator, Iterator
from typing import Any

import clickhouse_connect
import pytest
from clickhouse_connect.driver.exceptions import DatabaseError, OperationalError, StreamFailureError

from tests.support.store import RunningStore

# Each type with values that are easily lost: signs, zeros, nulls, line ends, other
# scripts, empty containers.
_TYPES: list[tuple[str, list[Any]]] = [
    ("UInt64", [0, 2**64 - 1]),
    ("Int128", [-(2**127), 2**127 - 1]),
    ("Float64", [0.1, -1e300]),
    ("Decimal(18, 6)", [decimal.Decimal("-0.000001"), decimal.Decimal("999999999999.999999")]),
    ("String", ["", "a'b\\c\td\ne\0f", "été 漢字 🎈"]),
    ("FixedString(3)", [b"abc", b"\0\xff\0"]),
    ("LowCardinality(String)", ["a", "b", "a"]),
    ("Nullable(String)", [None, "", "x"]),
    ("LowCardinality(Nullable(String))", [None, "x"]),
    ("Bool", [True, False]),
    ("UUID", [uuid.UUID(int=0), uuid.uuid4()]),
    ("Date", [dt.date(1970, 1, 1), dt.date(2026, 11, 22)]),
    ("DateTime64(3)", [dt.datetime(2026, 11, 22, 12, 0, 0, 123000), dt.datetime(1970, 1, 1)]),  # noqa: DTZ001 - the client gives UTC as naive
    ("Enum8('a' = 1, 'b' = -2)", ["a", "b"]),
    ("Array(Array(String))", [[], [[], ["a", ""]], [["x"]]]),
    ("Array(Nullable(UInt8))", [[None, 1], []]),
    ("Map(String, UInt64)", [{}, {"a": 1, "b": 2}]),
    ("Tuple(UInt8, String)", [(1, "a"), (2, "")]),
    ("IPv4", [ipaddress.IPv4Address("127.0.0.1")]),
    ("IPv6", [ipaddress.IPv6Address("::1")]),
]


@pytest.fixture
def admin(store: RunningStore) -> Iterator[Any]:
    """A client that may do all."""
    with contextlib.closing(store.admin_client()) as client:
        yield client


@pytest.fixture
def table(admin: Any) -> Iterator[str]:
    """The name of a table of the test's own, dropped in the end."""
    name = f"t_{uuid.uuid4().hex[:8]}"
    yield name
    admin.command(f"DROP TABLE IF EXISTS {name}")


@pytest.fixture
async def async_admin(store: RunningStore) -> AsyncIterator[Any]:
    """The same, async."""
    client = await clickhouse_connect.get_async_client(
        host=store.host,
        port=store.port,
        username="admin",
        password=store.passwords["admin"],
        autogenerate_session_id=False,
    )
    yield client
    await client.close()


@pytest.mark.parametrize(("kind", "values"), _TYPES, ids=[kind for kind, _ in _TYPES])
def test_insert_and_query_of_each_type_give_the_same_values(
    admin: Any, table: str, kind: str, values: list[Any]
) -> None:
    """What goes in comes out."""
    admin.command(f"CREATE TABLE {table} (n UInt32, v {kind}) ENGINE = MergeTree ORDER BY n")
    admin.insert(table, list(enumerate(values)), column_names=["n", "v"])
    assert [row[0] for row in admin.query(f"SELECT v FROM {table} ORDER BY n").result_rows] == values


@pytest.mark.parametrize("compress", ["lz4", "zstd", "gzip", False])
def test_client_with_each_compression_sends_and_reads_many_rows(
    store: RunningStore, table: str, compress: object
) -> None:
    """Both ways, over several blocks."""
    rows = [[number, f"row {number} " * 20] for number in range(20_000)]
    with contextlib.closing(store.admin_client(compress=compress)) as client:
        client.command(f"CREATE TABLE {table} (a UInt32, s String) ENGINE = MergeTree ORDER BY a")
        summary = client.insert(table, rows, column_names=["a", "s"])
        assert summary.written_rows == len(rows)
        assert client.query(f"SELECT a, s FROM {table} ORDER BY a").result_rows == [
            tuple(row) for row in rows
        ]


@pytest.mark.parametrize("form", [False, True], ids=["url", "form"])
def test_parameters_are_bound_by_the_store(store: RunningStore, form: object) -> None:
    """Values that would break a statement are only values, in the URL and in a form."""
    with contextlib.closing(store.admin_client(form_encode_query_params=bool(form))) as client:
        values = {"s": "o'k\\ \t\n;--é", "n": 2**63, "a": ["x'", ""], "d": dt.date(2026, 11, 22)}
        row = client.query(
            "SELECT {s:String}, {n:UInt64}, {a:Array(String)}, {d:Date}", parameters=values
        ).result_rows[0]
        assert row == tuple(values.values())


def test_query_without_rows_still_has_columns(admin: Any) -> None:
    """LIMIT 0, and a result that happens to be empty."""
    assert admin.query("SELECT 1 AS a, 'x' AS b LIMIT 0").column_names == ("a", "b")
    assert admin.query("SELECT 1 AS a WHERE 0").result_rows == []


def test_query_settings_hold_for_their_request_only(admin: Any) -> None:
    """A setting of one query does not stick to the next."""
    assert admin.query(
        "SELECT getSetting('max_block_size')", settings={"max_block_size": 1234}
    ).result_rows == [(1234,)]
    assert admin.query("SELECT getSetting('max_block_size')").result_rows != [(1234,)]


def test_query_that_fails_tells_code_and_name(admin: Any) -> None:
    """As a server's errors."""
    with pytest.raises(DatabaseError) as failure:
        admin.query("SELECT * FROM no_such_table")
    assert (failure.value.code, failure.value.name) == (60, "UNKNOWN_TABLE")


@pytest.mark.parametrize("compress", ["lz4", "zstd", "gzip", False])
def test_stream_that_fails_in_the_middle_fails_at_the_client(store: RunningStore, compress: object) -> None:
    """The error behind the rows is raised with its text, never taken for the end."""
    sql = (
        "SELECT number, throwIf(number = 3000000, 'boom') FROM numbers(4000000) SETTINGS max_block_size "
        "= 65536"
    )
    with contextlib.closing(store.admin_client(compress=compress)) as client:
        with (
            client.query_row_block_stream(sql) as stream,
            pytest.raises((StreamFailureError, OperationalError), match="boom"),
        ):
            for _ in stream:
                pass
        assert client.query("SELECT 1").result_rows == [(1,)]


def test_raw_insert_and_query_pass_any_format(admin: Any, table: str) -> None:
    """Bytes in a format of the client's choice, both ways."""
    admin.command(f"CREATE TABLE {table} (a UInt32, s String) ENGINE = MergeTree ORDER BY a")
    admin.raw_insert(table, ["a", "s"], b'{"a": 1, "s": "x"}\n{"a": 2, "s": "y"}\n', fmt="JSONEachRow")
    admin.raw_insert(table, ["a", "s"], iter([b"3,", b"z\n"]), fmt="CSV")
    assert admin.raw_query(f"SELECT * FROM {table} ORDER BY a", fmt="CSV") == b'1,"x"\n2,"y"\n3,"z"\n'


def test_session_of_a_default_client_keeps_its_temporary_table(store: RunningStore) -> None:
    """A client with a session of its own may ask one thing after the other at once."""
    with contextlib.closing(store.client("admin", autogenerate_session_id=True)) as client:
        client.command("CREATE TEMPORARY TABLE mine (a UInt8)")
        client.insert("mine", [[1], [2]], column_names=["a"])
        for _ in range(20):
            assert client.query("SELECT sum(a) FROM mine").result_rows == [(3,)]


async def test_async_client_inserts_and_reads(async_admin: Any, table: str) -> None:
    """The async client does what the sync one does."""
    await async_admin.command(f"CREATE TABLE {table} (a UInt32, s String) ENGINE = MergeTree ORDER BY a")
    await async_admin.insert(
        table, [[number, str(number)] for number in range(5000)], column_names=["a", "s"]
    )
    result = await async_admin.query(
        f"SELECT count(), sum(a) FROM {table} WHERE s != {{s:String}}", parameters={"s": "7"}
    )
    assert result.result_rows == [(4999, sum(range(5000)) - 7)]


async def test_async_client_hears_of_a_failure_in_the_middle(async_admin: Any) -> None:
    """An error behind the first rows is raised."""
    sql = "SELECT number, throwIf(number = 3000000, 'boom') FROM numbers(4000000)"
    with pytest.raises(DatabaseError, match="boom"):
        await async_admin.query(sql)


def test_analyst_client_connects_and_reads(store: RunningStore, admin: Any, table: str) -> None:
    """What the driver asks on its own is allowed to an analyst, also with a session and
    compression.
    """
    admin.command(f"CREATE TABLE {table} (a UInt32) ENGINE = MergeTree ORDER BY a")
    admin.insert(table, [[1], [2]], column_names=["a"])
    with contextlib.closing(store.client("analyst", autogenerate_session_id=True, compress=True)) as client:
        assert client.query(f"SELECT sum(a) FROM {table}").result_rows == [(3,)]
        assert client.query(
            f"SELECT sum(a) FROM tocsin.{table}", settings={"max_execution_time": 5}
        ).result_rows == [(3,)]
        with pytest.raises(DatabaseError, match="privileges"):
            client.insert(table, [[3]], column_names=["a"])
