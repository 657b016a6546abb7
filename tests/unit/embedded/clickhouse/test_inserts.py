"""Where a statement ends and its data begins."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.embedded.clickhouse.errors import StoreError
from services.embedded.clickhouse.sql.inserts import (
    Head,
    InsertHead,
    first_word,
    output_format,
    read_head,
)
from services.embedded.clickhouse.sql.lexer import tokens


@pytest.mark.parametrize(
    ("sql", "statement", "form", "data"),
    [
        (b"INSERT INTO t FORMAT Native\n\x01\x02", "INSERT INTO t", "Native", b"\x01\x02"),
        (
            b"insert into t (a, b) settings x = 1 format CSV 1,2\n",
            "insert into t (a, b) settings x = 1",
            "CSV",
            b"1,2\n",
        ),
        (b"INSERT INTO t FORMAT RowBinary\r\n\n\x00", "INSERT INTO t", "RowBinary", b"\n\x00"),
        (
            b"/* c */ INSERT -- d\n INTO `format` FORMAT TSV\n",
            "INSERT INTO `format`",
            "TSV",
            b"",
        ),
        (b"INSERT INTO format FORMAT TSV\nx", "INSERT INTO format", "TSV", b"x"),
        (b"INSERT INTO db.values VALUES (1)", "INSERT INTO db.values", "Values", b" (1)"),
        (b"INSERT INTO t (a) VALUES(1), (2)", "INSERT INTO t (a)", "Values", b"(1), (2)"),
    ],
)
def test_read_head_of_an_insert_finds_where_its_data_begins(
    sql: bytes, statement: str, form: str, data: bytes
) -> None:
    """One separator belongs to the statement, all else to the data, whatever bytes it
    has.
    """
    head = read_head(sql, complete=True)
    assert isinstance(head, InsertHead)
    assert (head.statement, head.format, sql[head.data_at :]) == (statement, form, data)


@pytest.mark.parametrize(
    "sql",
    [
        b"SELECT 1 FORMAT Native",
        b"INSERT INTO t SELECT 1 FORMAT CSV",
        b"INSERT INTO t (a) WITH 1 AS x SELECT x",
        b"INSERT INTO t FROM INFILE 'x' FORMAT CSV",
        b"INSERT INTO t (SELECT 1)",
        b"WITH 1 AS x INSERT INTO t SELECT x",
        b"INSERT INTO t FORMAT",
        b"INSERT INTO t 'open",
        b"",
    ],
)
def test_read_head_of_another_statement_is_whole(sql: bytes) -> None:
    """What has no data behind it is left in one piece."""
    assert read_head(sql, complete=True) is Head.WHOLE


@given(
    st.integers(0, 60),
    st.sampled_from(
        [
            b"INSERT INTO t (a) FORMAT JSONEachRow\n",
            b"INSERT INTO t VALUES (",
            b"INSERT /* FORMAT x */ INTO t FORMAT  CSV \r\n",
        ]
    ),
)
def test_read_head_of_a_part_is_never_wrong(length: int, sql: bytes) -> None:
    """However the body is cut, the head is either not told yet or the same as with
    everything there.
    """
    whole = read_head(sql + b"1\n2\n", complete=False)
    part = read_head((sql + b"1\n2\n")[:length], complete=False)
    assert part in (Head.INCOMPLETE, whole)


def test_read_head_with_a_semicolon_before_the_data_is_refused() -> None:
    """As a server refuses it: otherwise the sign would become data."""
    with pytest.raises(StoreError, match="excessive ';'"):
        read_head(b"INSERT INTO t FORMAT CSV;\n1", complete=True)


@given(st.binary(max_size=200), st.booleans())
def test_read_head_of_any_bytes_raises_nothing_but_refusals(data: bytes, complete: bool) -> None:  # noqa: FBT001 - hypothesis gives it
    """Any bytes are a statement, or an INSERT, or unfinished, or refused."""
    with contextlib.suppress(StoreError):
        assert isinstance(read_head(b"INSERT INTO t " + data, complete=complete), InsertHead | Head)


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("SELECT 1 FORMAT JSON", "JSON"),
        ("SELECT 1 FORMAT JSON SETTINGS a = 1", "JSON"),
        ("SELECT 1 SETTINGS a = 1 FORMAT JSON;", "JSON"),
        ("SELECT format FROM t", None),
        ("SELECT 1 AS format", None),
        ("SELECT ' FORMAT JSON'", None),
        ("SELECT * FROM (SELECT 1 FORMAT CSV)", None),
    ],
)
def test_output_format_is_that_of_the_last_clause(sql: str, expected: str | None) -> None:
    """Only a FORMAT clause at the end of the statement itself counts."""
    assert output_format(list(tokens(sql.encode()))) == expected


def test_first_word_passes_over_parentheses_and_comments() -> None:
    """The kind of a statement shows behind what may stand before it."""
    assert first_word(list(tokens(b"/* x */ ((-- y\n sElEcT 1)"))) == "select"
    assert first_word(list(tokens(b"`select` 1"))) == ""
