"""The statement filter, attacked."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.embedded.clickhouse.errors import StoreError
from services.embedded.clickhouse.sql import rights
from services.embedded.clickhouse.sql.analyst import rewritten, settings_clauses
from services.embedded.clickhouse.sql.lexer import tokens
from services.embedded.clickhouse.sql.settings import check_clause, check_settings
from services.embedded.clickhouse.users import Role

_CAPS = {"max_execution_time": 60.0, "max_memory_usage": 1000.0, "max_result_bytes": 500.0}


def _check(sql: str, role: Role = Role.ANALYST, **parameters: str) -> None:
    parsed = list(tokens(sql.encode()))
    rights.check_statement(parsed, role, parameters=parameters)
    if role is Role.ANALYST:
        check_clause(settings_clauses(parsed), caps=_CAPS)


def _code(sql: str, role: Role = Role.ANALYST, **parameters: str) -> int:
    try:
        _check(sql, role, **parameters)
    except StoreError as error:
        return error.code
    return 0


_REACHING_OUT = [
    "SELECT file('/etc/passwd')",
    "SELECT FILE ('/etc/passwd')",
    "SELECT fi/**/le('/etc/passwd'), file/* x */ -- y\n('/etc/passwd')",
    "SELECT `file`('/etc/passwd')",
    'SELECT "File"(x) FROM t',
    "SELECT * APPLY(file) FROM (SELECT '/etc/passwd' AS x)",
    "SELECT arrayMap(file, ['/etc/passwd'])",
    "SELECT arrayMap(x -> file(x), ['/etc/passwd'])",
    "WITH x AS (SELECT file('/etc/passwd')) SELECT * FROM x",
    "SELECT (SELECT (SELECT file('/etc/passwd')))",
    "EXPLAIN SELECT * FROM file('/etc/passwd', LineAsString)",
    "EXPLAIN SYNTAX SELECT * FROM url('http://x', CSV)",
    "SELECT 1 WHERE 1 IN (SELECT * FROM url('http://x', CSV, 'a Int8'))",
    "SELECT 1 UNION ALL SELECT * FROM s3('http://x')",
    "SELECT * FROM t JOIN remote('127.0.0.1', system.one) USING x",
    "SELECT * FROM clusterAllReplicas('x', system.one)",
    "DESCRIBE TABLE file('/etc/passwd')",
    "DESC executable('ls', TSV, 'a String')",
    "SELECT * FROM python('x')",
    "SELECT * FROM PyThOn\n\t('x')",
    "SELECT * FROM sqlite('/x', 't')",
    "SELECT * FROM mysql('h', 'd', 't', 'u', 'p')",
    "SELECT * FROM eval('SELECT 1')",
    "SELECT * FROM view(SELECT * FROM hdfs('x'))",
    "SELECT 1 INTO OUTFILE '/tmp/x'",
    "SELECT 1 INTO/**/outfile '/tmp/x' FORMAT CSV",
    "(SELECT 1) INTO OUTFILE '/tmp/x'",
    "SELECT aiGenerate('x')",
    "SELECT AIEmbed('x')",
    "SELECT reverseDNSQuery('1.1.1.1')",
    "SELECT 1 SETTINGS dialect = 'kusto'",
    "SELECT * FROM default.`/etc/passwd`",
    "SELECT * FROM `default` . `/etc/passwd`",
]


@pytest.mark.parametrize("sql", _REACHING_OUT)
@pytest.mark.parametrize("role", list(Role))
def test_check_statement_of_what_reaches_out_of_the_store_refuses_everybody(sql: str, role: Role) -> None:
    """Files, network, other processes: no role, no spelling."""
    assert _code(sql, role) == 497


@pytest.mark.parametrize(
    "sql",
    [
        "INSERT INTO FUNCTION file('x', CSV) SELECT 1",
        "INSERT INTO TABLE FUNCTION url('http://x', CSV, 'a Int8') SELECT 1",
        "INSERT INTO FUNCTION null('a Int8') VALUES (1)",
        "INSERT INTO t FROM INFILE '/etc/passwd' FORMAT CSV",
        "INSERT INTO t VALUES (file('/etc/passwd'))",
        "INSERT INTO t SETTINGS input_format_values_interpret_expressions = 1 VALUES (1)",
        "CREATE TABLE t (a Int8) ENGINE = Kafka",
        "CREATE TABLE t (a Int8) ENGINE Kafka('x', 'y', 'z', 'CSV')",
        "CREATE TABLE t (a Int8) engine=`kafka`",
        'CREATE TABLE t (a Int8) ENGINE /* = Memory */ = "KAFKA"()',
        "CREATE TABLE t (a Int8) ENGINE = URL('http://x', CSV)",
        "CREATE TABLE t (a Int8) ENGINE = NewEngineOfNextYear",
        "CREATE TABLE t (a Int8) ENGINE = ReplicatedMergeTree('/x', 'y') ORDER BY a",
        "CREATE OR REPLACE TABLE t (a Int8) ENGINE = File(CSV)",
        "CREATE DATABASE d ENGINE = SQLite('/x')",
        "CREATE MATERIALIZED VIEW v ENGINE = S3('x') AS SELECT 1",
        (
            "CREATE DICTIONARY d (a Int8) PRIMARY KEY a SOURCE(FILE(path '/etc/passwd' format 'CSV')) "
            "LAYOUT(FLAT())"
        ),
        "CREATE DICTIONARY d (a Int8) PRIMARY KEY a SOURCE(HTTP(url 'http://x')) LAYOUT(FLAT())",
        "CREATE FUNCTION f AS x -> file(x)",
        "CREATE TABLE t AS file('/etc/passwd')",
        "ALTER TABLE t MODIFY COLUMN a String DEFAULT file('/etc/passwd')",
        "ATTACH TABLE t FROM '/x' (a Int8) ENGINE = Memory",
        "BACKUP DATABASE tocsin TO File('/x')",
        "RESTORE DATABASE tocsin FROM Disk('x', 'y')",
        "SET ROLE ALL",
        "set /* */ role store_admin",
        "SET DEFAULT ROLE ALL TO default",
        "EXECUTE AS default SELECT 1",
        "SYSTEM SHUTDOWN",
        "SYSTEM KILL",
        "USE default",
        "USE `default`",
        "CREATE TABLE a (x Int8) ENGINE = Memory PARALLEL WITH CREATE TABLE b (x Int8) ENGINE = Memory",
        "SET dialect = 'prql'",
    ],
)
def test_check_statement_of_dangerous_writes_refuses_even_the_admin(sql: str) -> None:
    """What leaves the store, changes roles or makes a data directory unreadable is
    refused to all.
    """
    assert _code(sql, Role.ADMIN) == 497


def test_check_statement_of_several_statements_refuses_them() -> None:
    """A server takes one; chDB would run them all."""
    assert _code("SELECT 1; DROP TABLE t", Role.ADMIN) == 62
    assert _code("SELECT 1 /* ; */ ; -- x\n SELECT 2") == 62
    assert _code("SELECT ';' ;; -- the end;") == 0


@pytest.mark.parametrize(
    "sql", ["SELECT 'open", "SELECT /* open", "SELECT `a\\x62`", "SELECT “x”", "SELECT $a$ open"]
)
def test_check_statement_of_what_the_engine_may_read_otherwise_refuses_it(sql: str) -> None:
    """Where the filter and the engine could disagree about the text, the text is
    refused.
    """
    assert _code(sql) == 62


@pytest.mark.parametrize(
    "sql",
    [
        "INSERT INTO t VALUES (1)",
        "ALTER TABLE t DELETE WHERE 1",
        "DELETE FROM t WHERE 1",
        "DROP TABLE t",
        "TRUNCATE TABLE t",
        "CREATE TABLE t (a Int8) ENGINE = Memory",
        "CREATE TEMPORARY TABLE t (a Int8)",
        "OPTIMIZE TABLE t FINAL",
        "RENAME TABLE a TO b",
        "SET max_execution_time = 0",
        "KILL QUERY WHERE 1",
        "SYSTEM FLUSH LOGS",
        "GRANT ALL ON *.* TO default",
        "CHECK TABLE t",
        "1",
        "file",
        "SHOW USERS",
        "SHOW CREATE USER default",
        "SHOW",
        'SELECT * FROM "system" /* */ . /* */ "user_processes"',
        "SELECT * FROM system.query_log",
        "SELECT * FROM system.",
        "SHOW GRANTS FOR default",
        "SHOW PROCESSLIST INTO OUTFILE 'x'",
        "USE system",
        "USE tocsin2",
        "SELECT * FROM t, system.processes",
        "SELECT 1 IN system.processes",
        "SELECT count(system.processes.query) FROM system.processes",
        "SELECT * FROM merge('system', 'proc.*')",
        "SELECT getServerSetting('x')",
    ],
)
def test_check_statement_of_an_analyst_beyond_reading_the_database_is_refused(sql: str) -> None:
    """Analysts read the database: they write nothing and do not look at the server or
    at others' queries.
    """
    assert _code(sql) in (497, 62)


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT 1",
        "select count() from inference_events where profile = 'file(' and note != 'INTO OUTFILE; SET ROLE'",
        "WITH a AS (SELECT 1) SELECT * FROM a",
        "FROM t SELECT a",
        "(SELECT 1) UNION ALL (SELECT 2)",
        "SELECT files, url, s3 FROM t -- file('x')",
        "SELECT domain(url) AS d, kafka, remote FROM t",
        "SELECT name, value, readonly FROM system.settings LIMIT 10000",
        "SELECT * FROM system.columns",
        "SHOW TABLES",
        "SHOW CREATE TABLE t",
        "DESCRIBE t",
        "DESC TABLE t",
        "EXISTS TABLE t",
        "EXPLAIN PLAN indexes = 1 SELECT * FROM t",
        "SELECT * FROM numbers(10)",
        "SELECT system FROM t",
        "SELECT t.system, toString(default) FROM t",
        "SELECT {x:String} FORMAT Native",
        "SHOW GRANTS",
        "SHOW PROCESSLIST FORMAT JSON",
        "USE tocsin",
        "SELECT * FROM system.processes",
        "SELECT * FROM view(SELECT query FROM `system`.`processes`)",
        "SELECT 1 SETTINGS join_use_nulls, max_result_rows = 10, result_overflow_mode = 'break'",
        "SELECT 1 SETTINGS max_execution_time = 59, max_memory_usage = 1000, readonly = 1",
        "SELECT 1 AS settings, a = 1 FROM t",
    ],
)
def test_check_statement_of_an_analyst_reading_is_allowed(sql: str) -> None:
    """Ordinary reading passes, whatever strings, comments and names it has."""
    _check(sql)


@pytest.mark.parametrize(
    "sql",
    [
        "INSERT INTO t VALUES (1, now(), 'x')",
        "INSERT INTO t SELECT * FROM u",
        (
            "CREATE TABLE t (a Int8, engine String) ENGINE = MergeTree ORDER BY a SETTINGS "
            "non_replicated_deduplication_window = 100"
        ),
        "CREATE MATERIALIZED VIEW v TO t AS SELECT 1 AS a",
        "CREATE VIEW v AS SELECT engine, name FROM system.tables WHERE engine = 'Kafka'",
        "CREATE DATABASE d ENGINE = Atomic",
        "ALTER TABLE t ADD COLUMN b String DEFAULT 'x'",
        "SYSTEM FLUSH LOGS",
        "KILL QUERY WHERE query_id = 'x'",
        "SET max_threads = 1",
        "DROP TABLE t",
    ],
)
def test_check_statement_of_an_admin_is_allowed(sql: str) -> None:
    """What migrations and operators need passes."""
    _check(sql, Role.ADMIN)


@pytest.mark.parametrize(
    "value", ["system.processes", "default.x", "file", "a b", "x`; DROP", "/etc/passwd", "", "a..b"]
)
def test_check_statement_with_an_identifier_parameter_holds_it_against_the_rules(value: str) -> None:
    """An identifier cannot be smuggled in as a parameter."""
    assert _code("SELECT * FROM {t:Identifier}", t=value) in (497, 457)
    _check("SELECT {t:String}", t=value)
    _check("SELECT * FROM {t:Identifier}", t="tocsin.inference_events")


def test_check_statement_of_a_get_allows_reading_only() -> None:
    """GET implies readonly, as on a server."""
    with pytest.raises(StoreError, match="readonly mode") as refusal:
        rights.check_statement(list(tokens(b"DROP TABLE t")), Role.ADMIN, parameters={}, reading_only=True)
    assert refusal.value.code == 164


@pytest.mark.parametrize(
    "clause",
    [
        "SETTINGS max_execution_time = 0",
        "settings/**/max_memory_usage=0",
        "SETTINGS join_use_nulls = 1, max_execution_time = 0",
        "SETTINGS final = 1, max_memory_usage = 0",
        "SETTINGS join_use_nulls, max_execution_time = 61",
        "SETTINGS max_execution_time = DEFAULT",
        "SETTINGS max_execution_time = {x:UInt8}",
        "SETTINGS max_execution_time = -1",
        "SETTINGS max_execution_time = nan",
        "SETTINGS max_memory_usage = 1001",
        "SETTINGS max_result_bytes = 0",
        "SETTINGS max_threads = 1 SETTINGS max_threads = 2",
        "SETTINGS log_comment = 'x'",
        "SETTINGS additional_table_filters = {'t': '1'}",
        "SETTINGS join_use_nulls = 1, x.y = 2",
        "SETTINGS join_use_nulls =",
        "SETTINGS join_use_nulls = 1.0, max_execution_time = 0",
        "SETTINGS session_timezone = 'a' 'b', max_execution_time = 0",
        "SETTINGS join_use_nulls = [1, 2], max_execution_time = 0",
    ],
)
@pytest.mark.parametrize(
    "form",
    [
        "SELECT 1 {}",
        "SELECT * FROM (SELECT 1 {}) AS a",
        "EXPLAIN SELECT 1 {} FORMAT CSV",
        "SELECT 1 UNION ALL SELECT 2 {}",
    ],
)
def test_check_statement_of_an_analyst_that_lifts_a_limit_is_refused(form: str, clause: str) -> None:
    """No SETTINGS clause, wherever it stands, changes what an analyst may use."""
    assert _code(form.format(clause)) in (164, 62, 72, 452)


def test_check_statement_of_an_analyst_with_harmless_settings_is_allowed() -> None:
    """What only changes the result's form passes."""
    _check("SELECT 1 SETTINGS join_use_nulls = 1, session_timezone = 'Europe/Paris' FORMAT CSV")
    _check("SELECT * FROM (SELECT 1 AS a SETTINGS max_threads = 1), b")
    _check("SHOW SETTINGS LIKE 'max%'")
    _check("SELECT settings, t.settings FROM t")


@given(st.binary(max_size=300), st.sampled_from(list(Role)))
def test_check_statement_of_any_bytes_raises_nothing_but_refusals(data: bytes, role: Role) -> None:
    """Any bytes pass or are refused; nothing else happens."""
    assert _code(data.decode("latin-1"), role, a="b") in (0, 48, 62, 72, 164, 452, 497)


_BLANKS = st.lists(
    st.sampled_from([" ", "\n", "\t", "/**/", "/* ) ' */", "-- '\n", "# x\n"]), max_size=4
).map("".join)


@given(
    st.data(),
    _BLANKS,
    st.sampled_from(["`{}`", '"{}"', "{}"]),
    st.sampled_from(["file", "url", "s3", "python", "executable", "remote", "input"]),
)
def test_check_statement_of_a_forbidden_call_is_refused_however_it_is_spelt(
    data: st.DataObject, blanks: str, quotes: str, name: str
) -> None:
    """Case, quotes, blanks and comments change nothing."""
    cased = "".join(data.draw(st.sampled_from([letter.lower(), letter.upper()])) for letter in name)
    assert _code(f"SELECT a, b FROM{blanks or ' '}{quotes.format(cased)}{blanks}('x')") in (48, 497)


@pytest.mark.parametrize("table", ["system.processes", "`system` . `processes`", '"system"."processes"'])
@pytest.mark.parametrize("form", ["SELECT * FROM {}", "WITH p AS (SELECT 1 FROM a JOIN {} AS b) SELECT 1"])
def test_rewritten_of_other_peoples_queries_is_an_empty_table(form: str, table: str) -> None:
    """An analyst may ask for running queries, and sees none."""
    text = rewritten(list(tokens(form.format(table).encode())))
    assert text == form.format("(SELECT * FROM system.processes WHERE 0)")


def test_check_settings_of_an_analyst_are_few_and_capped() -> None:
    """An analyst cannot lift a limit; what is harmless passes."""
    given = {"max_execution_time": "0", "output_format_json_quote_64bit_integers": "1", "join_use_nulls": "1"}
    assert check_settings(given, Role.ANALYST, caps=_CAPS) == given | {"max_execution_time": "60"}
    asked = {"max_execution_time": "5", "max_memory_usage": "2000", "max_result_rows": "0"}
    assert check_settings(asked, Role.ANALYST, caps=_CAPS) == asked | {"max_memory_usage": "1000"}
    for name in ("format_schema", "output_format_schema", "allow_ddl", "log_queries", "s3_max_get_rps"):
        with pytest.raises(StoreError):
            check_settings({name: "1"}, Role.ANALYST, caps=_CAPS)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("dialect", "kusto"),
        ("DIALECT", "prql"),
        ("enable_trino_dialect", "1"),
        ("input_format_record_errors_file_path", "x"),
        ("format_schema", "x"),
        ("implicit_select", "1"),
        ("async_insert", "1"),
        ("a b", "1"),
        ("a=1,b", "1"),
        ("é", "1"),
    ],
)
def test_check_settings_of_the_stores_own_are_refused_to_all(name: str, value: str) -> None:
    """Nobody changes how the text is read, or makes an answer mean less than stored."""
    with pytest.raises(StoreError):
        check_settings({name: value}, Role.ADMIN, caps=_CAPS)


def test_check_settings_with_async_insert_off_is_content() -> None:
    """Asking for what holds anyway is no offence."""
    assert check_settings({"async_insert": "0"}, Role.SERVICE, caps=_CAPS) == {"async_insert": "0"}


def test_check_database_of_default_is_tocsins_own() -> None:
    """`default` never means chDB's, which shows the machine's files."""
    assert rights.check_database("default", Role.ANALYST) == rights.check_database("", Role.ADMIN) == "tocsin"
    assert rights.check_database("system", Role.ADMIN) == "system"
    for role in (Role.ANALYST, Role.SERVICE):
        with pytest.raises(StoreError):
            rights.check_database("system", role)
