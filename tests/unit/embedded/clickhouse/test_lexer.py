"""Tokens of SQL; that they are the engine's is tests/contract/embedded_store/test_lexer.py."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.embedded.clickhouse.sql.lexer import quote, render, tokens


def _kinds(sql: bytes) -> list[tuple[str, str]]:
    return [(token.kind, token.text) for token in tokens(sql)]


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("SELECT 'a;b' -- c\n, 1", "word SELECT, string 'a;b', sign ,, number 1"),
        ("'a''b' 'c\\'d'", "string 'a''b', string 'c\\'d'"),
        ('`a``b` "c""d" `e\\`f`', 'quoted `a``b`, quoted "c""d", quoted `e\\`f`'),
        ("a/* ' */b#! x\nc# y", "word a, word b, word c"),
        ("a/* /* */ ' */ b /**/ // it's\nc", "word a, word b, word c"),
        ("$x$ ' ; -- $x$ y", "string $x$ ' ; -- $x$, word y"),
        ("1 > 0. SETTINGS", "number 1, sign >, number 0., word SETTINGS"),
        ("1e5 1_000 0x1F.8p-3", "number 1e5, number 1_000, number 0x1F.8p-3"),
        ("(.5 1st", "sign (, number .5, word 1st"),
        ("a.1.2", "word a, sign ., number 1, sign ., number 2"),
        ("1].5", "number 1, sign ], sign ., number 5"),
        ("x'4F' b'01' ::", "string x'4F', string b'01', sign ::"),
        ("a\u00a0b\u3000c", "word a, word b, word c"),
    ],
)
def test_tokens_of_clickhouses_own_forms_are_read(sql: str, expected: str) -> None:
    """Quotes, nested comments, numbers and heredocs end where ClickHouse's lexer ends
    them.
    """
    assert ", ".join(f"{kind} {text}" for kind, text in _kinds(sql.encode())) == expected


@pytest.mark.parametrize(
    "text",
    [
        *("a /* open", "/* /* */", "'open", "'a\\'", "$t$ open", "$x", "SELECT ‘a’", "SELECT “a”", "a \x00"),
        *("'a\x00b'", "SELECT é", "#a", "1.a", "1e+x", "1e", "0b12", "a & b", "\\G", ". 1", "x'zz'", "!"),
    ],
)
def test_tokens_of_what_cannot_be_read_for_certain_are_broken(text: str) -> None:
    """What the engine may read otherwise is not guessed at."""
    assert _kinds(text.encode())[-1][0] == "broken"


@given(st.binary(max_size=400))
def test_tokens_of_any_bytes_never_raise(data: bytes) -> None:
    """Tokenising any bytes ends, and the tokens lie one after the other within them."""
    end = 0
    for token in tokens(data):
        assert end <= token.start < token.end <= len(data)
        end = token.end


def test_render_leaves_out_comments_and_makes_heredocs_strings() -> None:
    """What runs has the tokens and nothing else."""
    sql = b"SELECT/* ' */1 // it's\n, $a$it's\\n$a$,'\xff', a . b -- end"
    assert render(tokens(sql)) == "SELECT 1 , 'it\\'s\\\\n' ,'\\xff', a . b"


@given(
    st.lists(
        st.sampled_from(["'it''s'", "`q`", "a", "1", ".5", "$a$x'$a$", " ", "/* ' */", "--x\n", "(", "."])
    )
)
def test_render_of_any_tokens_reads_as_the_same_tokens(parts: list[str]) -> None:
    """Rendering adds and loses no token."""
    read = list(tokens("".join(parts).encode()))
    again = list(tokens(render(read).encode()))
    if "broken" not in {token.kind for token in read}:
        assert [token.kind for token in again] == [token.kind for token in read]


@given(st.text())
def test_quote_of_any_text_is_one_string(text: str) -> None:
    """Nothing in a value ends its literal."""
    assert [token.kind for token in tokens(quote(text).encode("utf-8", "replace"))] == ["string"]
