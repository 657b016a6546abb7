"""The embedded store over plain HTTP: what curl and other languages' clients rely on."""

import json
import subprocess
import uuid

import pytest

from tests.support.store import RunningStore

_BOUNDARY = "----xyz"


def _curl(store: RunningStore, *arguments: str, data: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        ["curl", "-sS", "-m", "60", "-u", f"admin:{store.passwords['admin']}", *arguments],
        input=data,
        capture_output=True,
        check=False,
    )


def test_ping_needs_no_user(store: RunningStore) -> None:
    """Health checks get 'Ok.', whoever asks; so does an empty query with a password."""
    assert _curl(store, f"{store.http_url}/ping").stdout == b"Ok.\n"
    assert (
        subprocess.run(["curl", "-sS", f"{store.http_url}/ping"], capture_output=True, check=True).stdout
        == b"Ok.\n"
    )
    assert store.ask(method="GET").text == "Ok."


def test_curl_queries_by_get_and_post(store: RunningStore, table: str) -> None:
    """The ways of ClickHouse's own documentation."""
    url = f"{store.http_url}/"
    assert _curl(store, "-G", url, "--data-urlencode", "query=SELECT 1 + 1").stdout == b"2\n"
    assert _curl(store, url, "--data-binary", "SELECT 'a', 2 FORMAT CSV").stdout == b'"a",2\n'
    assert (
        _curl(
            store, f"{url}?query=INSERT%20INTO%20{table}%20(a)%20VALUES", "--data-binary", "(1), (2)"
        ).returncode
        == 0
    )
    assert (
        _curl(
            store,
            f"{url}?query=INSERT%20INTO%20{table}%20FORMAT%20TSV",
            "--data-binary",
            "@-",
            data=b"3\tx\n4\ty\n",
        ).returncode
        == 0
    )
    assert (
        _curl(
            store,
            f"{url}?param_x=3",
            "-F",
            f"query=SELECT a, s FROM {table} WHERE a >= {{x:UInt32}} ORDER BY a",
        ).stdout
        == b"3\tx\n4\ty\n"
    )
    assert _curl(store, "--compressed", url, "--data-binary", f"SELECT count() FROM {table}").stdout == b"4\n"


def test_curl_hears_of_a_failure_in_the_middle(store: RunningStore) -> None:
    """The text is at the end of the body, and the transfer counts as failed: nobody
    takes the part for the whole.
    """
    done = _curl(
        store,
        f"{store.http_url}/",
        "--data-binary",
        "SELECT throwIf(number = 3000000, 'boom') FROM numbers(4000000) FORMAT CSV",
    )
    assert done.returncode == 18
    assert b"boom" in done.stdout
    assert b"__exception__" in done.stdout


def test_wait_end_of_query_turns_a_late_failure_into_a_status(store: RunningStore) -> None:
    """With it, an error is a status and a summary is complete."""
    failed = store.ask(
        "SELECT throwIf(number = 3000000, 'boom') FROM numbers(4000000) FORMAT CSV", wait_end_of_query=1
    )
    assert (failed.status, failed.code) == (500, 395)
    whole = store.ask("SELECT number FROM numbers(3000000) FORMAT CSV", wait_end_of_query=1)
    assert whole.body.count(b"\n") == 3_000_000
    assert json.loads(whole.headers["x-clickhouse-summary"])["read_rows"] == "3000000"


def test_headers_are_those_of_a_server(store: RunningStore) -> None:
    """Query id, format, time zone, summary, content type."""
    answer = store.ask("SELECT 1 AS a FORMAT JSONEachRow", query_id="my-id")
    assert answer.headers["x-clickhouse-query-id"] == "my-id"
    assert answer.headers["x-clickhouse-format"] == "JSONEachRow"
    assert answer.headers["x-clickhouse-timezone"]
    assert answer.headers["content-type"].startswith("application/x-ndjson")
    assert set(json.loads(answer.headers["x-clickhouse-summary"])) >= {
        "read_rows",
        "read_bytes",
        "written_rows",
        "written_bytes",
        "result_rows",
        "elapsed_ns",
    }
    by_header = store.ask("SELECT 1 AS a", headers={"X-ClickHouse-Format": "JSON"})
    assert json.loads(by_header.body)["data"] == [{"a": 1}]


@pytest.mark.parametrize(
    ("sql", "status", "code"),
    [
        ("SELEC 1", 400, 62),
        ("SELECT * FROM nope", 404, 60),
        ("SELECT nope", 404, 47),
        ("SELECT * FROM nope.nope", 404, 81),
        ("SELECT toUInt8('x')", 400, 6),
        ("SELECT throwIf(1)", 500, 395),
        ("SELECT 1; SELECT 2", 400, 62),
        ("SELECT sleep(2) SETTINGS max_execution_time = 1", 408, 159),
    ],
)
def test_errors_have_the_status_and_code_of_a_server(
    store: RunningStore, sql: str, status: int, code: int
) -> None:
    """In the header and in the body."""
    answer = store.ask(sql)
    assert (answer.status, answer.code) == (status, code)
    assert answer.text.startswith(f"Code: {code}. DB::Exception: ")


def test_get_is_read_only(store: RunningStore, table: str) -> None:
    """GET implies readonly, also for what hides behind WITH."""
    for sql in (
        f"DROP TABLE {table}",
        f"INSERT INTO {table} (a) VALUES (1)",
        f"WITH 1 AS x INSERT INTO {table} (a) SELECT x",
    ):
        assert store.ask(method="GET", query=sql).code == 164
    assert store.ask(f"SELECT count() FROM {table}").text == "0"


_FORMATS: list[tuple[str, bytes]] = [
    ("CSV", b'1,"x"\n2,"y"\n'),
    ("CSVWithNames", b'"a","s"\n1,"x"\n2,"y"\n'),
    ("TSV", b"1\tx\n2\ty\n"),
    ("TabSeparatedWithNamesAndTypes", b"a\ts\nUInt32\tString\n1\tx\n2\ty\n"),
    ("JSONEachRow", b'{"a":1,"s":"x"}\n{"a":2,"s":"y"}\n'),
    ("JSONCompactEachRow", b'[1, "x"]\n[2, "y"]\n'),
    ("RowBinary", b"\x01\0\0\0\x01x\x02\0\0\0\x01y"),
    ("RowBinaryWithNamesAndTypes", b"\x02\x01a\x01s\x06UInt32\x06String\x01\0\0\0\x01x\x02\0\0\0\x01y"),
    ("Native", b"\x02\x02\x01a\x06UInt32\x01\0\0\0\x02\0\0\0\x01s\x06String\x01x\x01y"),
    ("Values", b"(1,'x'),(2,'y')"),
    ("LineAsString", b""),
]


@pytest.mark.parametrize(
    ("name", "rows"), [pair for pair in _FORMATS if pair[1]], ids=[name for name, rows in _FORMATS if rows]
)
def test_insert_in_each_format_is_read_back_in_it(
    store: RunningStore, table: str, name: str, rows: bytes
) -> None:
    """Rows with the statement in the URL, then with the statement before them; the same
    bytes come out.
    """
    assert store.ask(rows, query=f"INSERT INTO {table} (a, s) FORMAT {name}").status == 200
    assert store.ask(f"SELECT a, s FROM {table} ORDER BY a FORMAT {name}").body.replace(
        b", ", b","
    ) == rows.replace(b", ", b",")
    assert store.ask(f"INSERT INTO {table} (a, s) FORMAT {name}\n".encode() + rows).status == 200
    assert store.ask(f"SELECT count(), sum(a) FROM {table}").text == "4\t6"


@pytest.mark.parametrize(
    "name",
    [
        "JSON",
        "Pretty",
        "Parquet",
        "ArrowStream",
        "ORC",
        "XML",
        "Vertical",
        "Markdown",
        "MsgPack",
        "Null",
        "SQLInsert",
        "JSONColumns",
        "Avro",
    ],
)
def test_query_in_any_other_format_gives_one_whole_result(store: RunningStore, name: str) -> None:
    """Formats with a beginning and an end are not cut into blocks."""
    answer = store.ask(f"SELECT number AS n FROM numbers(200000) FORMAT {name}")
    assert answer.status == 200
    marks = {"JSON": b'"meta"', "Parquet": b"PAR1", "ORC": b"ORC", "XML": b"<result>", "Avro": b"Obj"}
    if name in marks:
        assert answer.body.count(marks[name]) == (2 if name in ("Parquet", "ORC") else 1)
    if name == "JSON":
        assert len(json.loads(answer.body)["data"]) == 200_000


def test_insert_of_a_bad_row_stores_nothing_of_its_block(store: RunningStore, table: str) -> None:
    """A block is stored or not, never in part."""
    rows = b"".join(b"%d,x\n" % number for number in range(1000)) + b"not a number,x\n"
    answer = store.ask(rows, query=f"INSERT INTO {table} FORMAT CSV")
    assert answer.status == 400
    assert store.ask(f"SELECT count() FROM {table}").text == "0"


def test_insert_values_may_hold_expressions_and_parameters(store: RunningStore, table: str) -> None:
    """Short VALUES are evaluated as on a server."""
    answer = store.ask(
        f"INSERT INTO {table} VALUES (1 + 1, upper({{s:String}})), (3, lower('D'))", param_s="x"
    )
    assert (answer.status, json.loads(answer.headers["x-clickhouse-summary"])["written_rows"]) == (200, "2")
    assert store.ask(f"SELECT * FROM {table} ORDER BY a").text == "2\tX\n3\td"


def test_insert_of_many_values_takes_literals_only(store: RunningStore, table: str) -> None:
    """Beyond the length of a statement nobody has looked at an expression, so none is
    evaluated: no way around the filter.
    """
    literals = ", ".join(f"({number}, 'it''s {number}')" for number in range(50_000))
    assert store.ask(f"INSERT INTO {table} VALUES {literals}").status == 200
    assert store.ask(f"SELECT count(), countIf(s = 'it\\'s 49999') FROM {table}").text == "50000\t1"
    assert store.ask(f"INSERT INTO {table} VALUES {literals}, (1, file('/etc/hostname'))").status == 400
    assert store.ask(f"SELECT count() FROM {table} WHERE s NOT LIKE 'it%'").text == "0"


def test_insert_select_and_identifier_parameters(store: RunningStore, table: str) -> None:
    """A table named by a parameter, filled from a query."""
    answer = store.ask(
        "INSERT INTO {t:Identifier} (a) SELECT number FROM numbers({n:UInt32})", param_t=table, param_n=5
    )
    assert answer.status == 200
    assert store.ask("SELECT count() FROM {t:Identifier}", param_t=table).text == "5"


def test_input_and_external_tables_say_that_they_are_not_supported(store: RunningStore, table: str) -> None:
    """Rather than storing nothing and saying yes, which is what chDB does with input()."""
    assert (
        store.ask(
            b'{"a": 1}', query=f"INSERT INTO {table} SELECT a FROM input('a UInt32') FORMAT JSONEachRow"
        ).code
        == 48
    )
    form = (
        f'--{_BOUNDARY}\r\nContent-Disposition: form-data; name="x"; '
        f'filename="x"\r\n\r\n1\r\n--{_BOUNDARY}--\r\n'
    )
    answer = store.ask(
        form,
        headers={"Content-Type": f"multipart/form-data; boundary={_BOUNDARY}"},
        query="SELECT 1",
        x_structure="a UInt8",
    )
    assert answer.code == 48


def test_database_default_means_tocsins_own(store: RunningStore, table: str) -> None:
    """Tools that send database=default find the tables; chDB's `default`, an overlay
    over the file system, is out of reach.
    """
    assert store.ask("SELECT currentDatabase()", database="default").text == "tocsin"
    assert store.ask(f"EXISTS TABLE {table}", headers={"X-ClickHouse-Database": "default"}).text == "1"
    assert store.ask("SELECT * FROM `/etc/hostname`").code == 60
    assert store.ask("SELECT count() FROM tables", database="system").status == 200
    assert store.ask("SELECT 1", database="nope").code == 81


@pytest.mark.parametrize("path", ["/nope", "/play", "/../etc/passwd"])
def test_other_paths_are_not_found(store: RunningStore, path: str) -> None:
    """There is / and /ping."""
    done = _curl(store, "-o", "/dev/null", "-w", "%{http_code}", "--path-as-is", store.http_url + path)
    assert done.stdout == b"404"


def test_identical_blocks_without_a_token_are_both_kept(store: RunningStore) -> None:
    """A trap of tables with a deduplication window: chDB would drop the second block,
    and say that it was stored.
    """
    name = f"d_{uuid.uuid4().hex[:8]}"
    store.ask(
        f"CREATE TABLE {name} (a UInt32) ENGINE = MergeTree ORDER BY a SETTINGS "
        "non_replicated_deduplication_window = 100"
    )
    for _ in range(2):
        assert store.ask(b"1\n", query=f"INSERT INTO {name} FORMAT CSV").status == 200
    assert store.ask(f"SELECT count() FROM {name}").text == "2"
    for _ in range(2):
        assert (
            store.ask(b"2\n", query=f"INSERT INTO {name} FORMAT CSV", insert_deduplication_token="t").status
            == 200
        )
    assert store.ask(f"SELECT count() FROM {name}").text == "3"
    store.ask(f"DROP TABLE {name}")


@pytest.mark.parametrize("depth", [12, 20, 40])
@pytest.mark.parametrize("operator", ["BETWEEN", "NOT BETWEEN"])
def test_statement_that_the_engine_would_write_far_longer_is_refused(
    store: RunningStore, operator: str, depth: int
) -> None:
    """`(x BETWEEN y AND z)` doubles x: some nested ones stand for gigabytes."""
    expression = "1"
    for _ in range(depth):
        expression = f"({expression}) {operator} 0 AND 1"
    answer = store.ask(f"SELECT {expression}", user="analyst")
    assert answer.code in (167, 168, 306), answer.text
    assert store.ask("SELECT 1 BETWEEN 0 AND 1", user="analyst").text == "1"
