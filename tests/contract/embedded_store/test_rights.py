"""Who may do what in the embedded store, tried on the real engine."""

import contextlib
import json
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from services.common.store.migrations import migrate
from services.embedded.clickhouse.engine.chdb_engine import SPEND_COLUMNS
from services.embedded.clickhouse.sql import vocabulary
from services.embedded.clickhouse.sql.analyst import NO_SETTING
from tests.support.store import RunningStore


@pytest.fixture
def table(store: RunningStore) -> Iterator[str]:
    """A table with three rows."""
    name = f"r_{uuid.uuid4().hex[:8]}"
    assert store.ask(f"CREATE TABLE {name} (a UInt32) ENGINE = MergeTree ORDER BY a").status == 200
    assert store.ask(f"INSERT INTO {name} VALUES (1), (2), (3)").status == 200
    yield name
    store.ask(f"DROP TABLE IF EXISTS {name}")


def _audit(store: RunningStore) -> list[dict[str, Any]]:
    return [
        json.loads(line)
        for line in (store.folder / "data" / "audit" / "analyst.jsonl").read_text().splitlines()
    ]


@pytest.mark.parametrize(
    ("user", "password"), [("admin", ""), ("admin", "wrong"), ("nobody", "x"), ("default", ""), ("", "")]
)
def test_wrong_credentials_are_refused(store: RunningStore, user: str, password: str) -> None:
    """Code 516, without saying which of the two was wrong."""
    answer = store.ask("SELECT 1", headers={"X-ClickHouse-User": user, "X-ClickHouse-Key": password})
    assert (answer.status, answer.code) == (401, 516)
    assert "no user with such name" in answer.text


def test_users_of_each_role_have_their_rights(store: RunningStore, table: str) -> None:
    """Admin all, service reads and writes, analyst reads."""
    rights = {
        f"SELECT sum(a) FROM {table}": {"admin", "service", "analyst"},
        f"SHOW CREATE TABLE {table}": {"admin", "service", "analyst"},
        f"EXPLAIN SELECT * FROM {table}": {"admin", "service", "analyst"},
        f"INSERT INTO {table} VALUES (4)": {"admin", "service"},
        f"INSERT INTO {table} SELECT 5": {"admin", "service"},
        f"ALTER TABLE {table} DELETE WHERE a = 5 SETTINGS mutations_sync = 1": {"admin", "service"},
        f"DELETE FROM {table} WHERE a = 4": {"admin", "service"},
        f"ALTER TABLE {table} ADD COLUMN IF NOT EXISTS b UInt8": {"admin"},
        "CREATE TABLE IF NOT EXISTS r_mine (a UInt8) ENGINE = Memory": {"admin"},
        "CREATE DATABASE IF NOT EXISTS r_other ENGINE = Atomic": {"admin"},
        "CREATE TABLE IF NOT EXISTS r_other.t (a UInt8) ENGINE = Memory": {"admin"},
        "SELECT * FROM r_other.t": {"admin"},
        "KILL QUERY WHERE 0": {"admin"},
        "SYSTEM FLUSH LOGS": {"admin"},
        "DROP TABLE IF EXISTS r_mine": {"admin"},
        "DROP DATABASE IF EXISTS r_other": {"admin"},
    }
    for sql, allowed in rights.items():
        done = {user for user in ("admin", "service", "analyst") if store.ask(sql, user=user).status == 200}
        assert done == allowed, sql


@pytest.fixture
def requests(store: RunningStore) -> str:
    """The table of requests, as the migrations make it."""
    migrate(store.url("admin"))
    return "tocsin.inference_events"


def test_gateway_reads_what_requests_cost_and_nothing_else(
    store: RunningStore, requests: str, table: str
) -> None:
    """Neither texts, nor all columns, nor another table or view; no way to look around."""
    allowed = f"SELECT {', '.join(SPEND_COLUMNS)} FROM {requests}"
    assert store.ask(allowed, user="gateway").status == 200
    assert (
        store.ask(f"SELECT sum(cost_usd) FROM {requests} PREWHERE tenant = 'x'", user="gateway").status == 200
    )
    for sql in (
        f"SELECT prompt_text FROM {requests}",
        f"SELECT * FROM {requests}",
        f"SELECT cost_usd FROM {requests} WHERE response_text != ''",
        f"SELECT count() FROM {requests} GROUP BY request_id",
        "SELECT cost_usd FROM tocsin.v_requests",
        "SELECT * FROM tocsin.audit_log",
        f"SELECT a FROM {table}",
        f"WITH t AS (SELECT prompt_text FROM {requests}) SELECT * FROM t",
        "SELECT query FROM system.query_log",
        "SHOW TABLES",
        "SHOW GRANTS",
        f"SHOW CREATE TABLE {requests}",
        f"DESCRIBE TABLE {requests}",
        f"EXPLAIN SELECT cost_usd FROM {requests}",
        f"INSERT INTO {requests} (tenant) VALUES ('x')",
        f"ALTER TABLE {requests} DELETE WHERE 1",
        "SET max_memory_usage = 0",
        "SET ROLE store_analyst",
    ):
        assert store.ask(sql, user="gateway").status != 200, sql
    assert store.ask("SELECT 1", user="gateway", max_memory_usage=0).status == 200  # capped, not lifted
    assert store.ask("SELECT 1 SETTINGS max_execution_time = 0", user="gateway").status != 200
    assert store.ask("SELECT * FROM system.processes", user="gateway").text == ""


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT file('/etc/hostname')",
        "SELECT * APPLY(file) FROM (SELECT '/etc/hostname' AS x)",
        "SELECT arrayMap(`file`, ['/etc/hostname'])",
        "SELECT * FROM file('/etc/hostname', LineAsString)",
        "SELECT * FROM `/etc/hostname`",
        "SELECT * FROM default.`/etc/hostname`",
        "SELECT * FROM {t:Identifier}",
        "WITH t AS (SELECT * FROM url('file:///etc/hostname', LineAsString)) SELECT * FROM t",
        "EXPLAIN SELECT * FROM python('x')",
        "DESCRIBE TABLE executable('id', LineAsString)",
        "SELECT 1 INTO OUTFILE '{path}'",
        "SELECT 1 INTO/**/OUTFILE/**/'{path}' FORMAT CSV",
        "INSERT INTO FUNCTION file('{path}', CSV, 'a UInt8') VALUES (1)",
        "SELECT query FROM system.processes_of_others",
        "SELECT * FROM numbers(1), system.processes",
        "SELECT * FROM merge('system', 'processes')",
        "SET ROLE store_admin",
        "SELECT 1; SET ROLE store_admin",
        "KILL QUERY WHERE 1",
    ],
)
def test_analyst_does_not_get_out_of_the_database(store: RunningStore, tmp_path: Path, sql: str) -> None:
    """No file is read or written, no other query is seen or ended, no role is changed."""
    target = tmp_path / "out.csv"
    answer = store.ask(sql.replace("{path}", str(target)), user="analyst", param_t="/etc/hostname")
    assert answer.status >= 400
    assert Path("/etc/hostname").read_text().strip() not in answer.text.replace(sql, "")
    assert not target.exists()


def _setting(store: RunningStore, name: str, clause: str = "", **url: object) -> str:
    answer = store.ask(f"SELECT getSetting('{name}') {clause}", user="analyst", **url)
    return answer.text if answer.status == 200 else f"error {answer.code}"


def test_analyst_limits_get_lower_only(store: RunningStore) -> None:
    """In the URL what is above a limit becomes the limit, in a clause it is an error; in
    a session nothing stays.
    """
    assert _setting(store, "max_execution_time") == "30"
    assert _setting(store, "max_execution_time", max_execution_time=5) == "5"
    assert _setting(store, "max_execution_time", max_execution_time=0) == "60"
    assert _setting(store, "max_memory_usage", max_memory_usage=0) == str(512 << 20)
    assert _setting(store, "max_memory_usage", "SETTINGS max_memory_usage = 1000000") == "1000000"
    for clause in (
        "max_memory_usage = 0",
        "max_execution_time = 61",
        "max_threads = 1, max_memory_usage = 1e12",
    ):
        assert _setting(store, "max_threads", f"SETTINGS {clause}") == "error 452", clause
        assert store.ask(f"SELECT 1 FROM (SELECT 1 SETTINGS {clause})", user="analyst").code == 452
    for name in ("allow_ddl", "max_rows_to_transfer_x", "max_ast_depth"):
        assert store.ask("SELECT 1", user="analyst", **{name: "0"}).code in (164, 115)
    assert store.ask("SELECT 1 WHERE 1 > 0. SETTINGS max_memory_usage=0", user="analyst").code == 452
    assert store.ask("SET max_execution_time = 0", user="analyst", session_id="s").code == 497


def test_analyst_settings_that_are_harmless_hold(store: RunningStore) -> None:
    """In the URL and in a clause, also `readonly`, which holds anyway."""
    assert _setting(store, "join_use_nulls", join_use_nulls=1) in ("1", "true")
    assert _setting(store, "join_use_nulls", "SETTINGS join_use_nulls = 1, readonly = 1") in ("1", "true")
    answer = store.ask(
        "SELECT number FROM numbers(100) SETTINGS max_block_size = 10, max_result_rows = 10, "
        "result_overflow_mode = 'break'",
        user="analyst",
    )
    assert (answer.status, len(answer.text.split())) == (200, 10)


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("SELECT 1 // it's fine", "1"),
        ("SELECT /* /* */ ' */ 1 -- x", "1"),
        ("SELECT $$it's // not a comment$$", "it\\'s // not a comment"),
        ("SHOW GRANTS", "GRANT SELECT, SHOW, dictGet ON tocsin.* TO analyst"),
        ("USE tocsin", ""),
        ("SHOW PROCESSLIST", ""),
        ("SELECT p.query FROM system.processes AS p", ""),
        ("SELECT count() FROM system.dictionaries", "0"),
        ("SELECT name FROM system.merge_tree_settings WHERE name = 'index_granularity'", "index_granularity"),
        ("SELECT schema_name FROM information_schema.schemata WHERE schema_name = 'tocsin'", "tocsin"),
        ("SELECT readonly FROM system.settings WHERE name = 'max_execution_time'", "0"),
        ("SELECT readonly FROM system.settings WHERE name = 'allow_ddl'", "1"),
        ("SELECT 1, 2 FORMAT CSV", "1,2"),
    ],
)
def test_analyst_asks_what_tools_ask(store: RunningStore, sql: str, expected: str) -> None:
    """Comments of every kind, and what Metabase, DBeaver, Superset and Grafana ask when
    they connect.
    """
    answer = store.ask(sql, user="analyst")
    assert (answer.status, answer.text) == (200, expected)


@pytest.mark.parametrize("user", ["admin", "service", "analyst"])
def test_typo_is_a_syntax_error(store: RunningStore, user: str) -> None:
    """Not a missing right."""
    for sql in ("SELEC 1", "SELECT 1 FORM numbers(1) x y", "INSRT INTO t VALUES (1)", "/* nothing */"):
        assert store.ask(sql, user=user).code == 62, sql


def test_no_setting_is_called_like_what_may_follow_a_column(store: RunningStore) -> None:
    """Else a SETTINGS clause could be taken for a column of that name."""
    names = set(store.ask("SELECT name FROM system.settings").text.split())
    assert len(names) > 1000
    assert not names & set(NO_SETTING)
    assert names | {"wait_for_async_insert"} >= vocabulary.ANALYST_SETTINGS


def test_analyst_query_that_takes_too_long_or_too_much_is_ended(store: RunningStore) -> None:
    """Time and memory are bounded, and the store goes on."""
    slow = store.ask(
        "SELECT count() FROM numbers(100000000000) WHERE sipHash64(number) = 1",
        user="analyst",
        max_execution_time=1,
    )
    assert (slow.status, slow.code) == (408, 159)
    large = store.ask("SELECT length(groupArray(number)) FROM numbers(2000000000)", user="analyst")
    assert large.code == 241
    assert store.ask("SELECT 1", user="analyst").text == "1"


def test_service_cannot_take_another_role_or_lift_the_filter(store: RunningStore, table: str) -> None:
    """Not by SET ROLE, by the role parameter, by a dialect, or by expressions among
    many VALUES.
    """
    assert store.ask("SET ROLE ALL", user="service").code == 497
    assert store.ask("SELECT 1", user="service", role="store_admin").code == 497
    assert store.ask("SELECT 1", user="service", dialect="kusto").code == 452
    values = ", ".join(["(1)"] * 100_000) + ", (length(file('/etc/hostname')))"
    assert store.ask(f"INSERT INTO {table} VALUES {values}", user="service").status >= 400
    assert (
        store.ask(
            f"INSERT INTO {table} VALUES {values}",
            user="service",
            input_format_values_interpret_expressions=1,
        ).code
        == 452
    )


def test_audit_log_has_every_statement_of_analysts_and_no_one_elses(store: RunningStore, table: str) -> None:
    """Who, when, what, how long, rows read, outcome; refused ones, too."""
    mark = uuid.uuid4().hex
    store.ask(f"SELECT sum(a), '{mark}' FROM {table}", user="analyst", query_id=f"ok-{mark}")
    store.ask(f"SELECT file('{mark}')", user="analyst", query_id=f"no-{mark}")
    store.ask(f"SELECT throwIf(1, '{mark}')", user="analyst", query_id=f"err-{mark}")
    store.ask(f"SELECT '{mark}'", user="admin")
    lines = {line["query_id"].split("-")[0]: line for line in _audit(store) if mark in line["statement"]}
    assert set(lines) == {"ok", "no", "err"}
    assert (lines["ok"]["error"], lines["ok"]["rows_read"], lines["ok"]["user"]) == ("", 3, "analyst")
    assert lines["ok"]["duration_ms"] > 0
    assert lines["no"]["error"] == "497 ACCESS_DENIED"
    assert lines["err"]["error"].startswith("395 ")


def test_vocabulary_knows_every_table_function_and_engine(store: RunningStore) -> None:
    """A new version of chDB that brings new ones fails here, so that somebody looks at
    them.
    """
    with contextlib.closing(store.admin_client()) as admin:
        functions = {
            row[0] for row in admin.query("SELECT lower(name) FROM system.table_functions").result_rows
        }
        engines = {
            row[0]
            for row in admin.query(
                "SELECT lower(name) FROM system.table_engines UNION ALL SELECT lower(name) FROM "
                "system.database_engines"
            ).result_rows
        }
    assert functions <= vocabulary.HARMLESS_TABLE_FUNCTIONS | vocabulary.FORBIDDEN_TABLE_FUNCTIONS
    assert engines <= vocabulary.ALLOWED_ENGINES | vocabulary.FORBIDDEN_ENGINES


def test_vocabulary_forbids_every_setting_that_names_a_file_or_another_language(store: RunningStore) -> None:
    """Settings that a new version of chDB brings are looked at here, too."""
    with contextlib.closing(store.admin_client()) as admin:
        names = {
            row[0]
            for row in admin.query(
                "SELECT name FROM system.settings WHERE match(name, "
                "'dialect|file_path|template|format_schema')"
            ).result_rows
        }
    assert len(names) > 10
    for name in names - {
        "format_protobuf_use_autogenerated_schema",
        "format_capn_proto_use_autogenerated_schema",
    }:
        assert store.ask("SELECT 1", **{name: "1"}).code == 452, name


def test_store_listens_on_loopback_only_and_tells_no_secrets(store: RunningStore) -> None:
    """Neither its log nor its command line nor its files have a password or a statement
    of the services.
    """
    mark = uuid.uuid4().hex
    store.ask(f"SELECT '{mark}'", user="service")
    process = psutil.Process(store.pid)
    assert {
        connection.laddr.ip
        for connection in process.net_connections("tcp")
        if connection.status == psutil.CONN_LISTEN
    } == {"127.0.0.1"}
    told = (
        (store.folder / "store.log").read_text() + " ".join(process.cmdline()) + json.dumps(process.environ())
    )
    assert mark not in told
    assert not any(password in told for password in store.passwords.values())
    assert (store.folder / "data").stat().st_mode & 0o077 == 0
