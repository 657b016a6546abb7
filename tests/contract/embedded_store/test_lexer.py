"""The store's lexer held against the engine's (`tokenizeQuery`), and what the store
calls one statement against what the engine's parser calls one.

A longer run, as an analyst who means harm: `python -m tests.benchmarks.security.analyst_attacks`.
"""

import ast
import random
from collections.abc import Iterable

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from services.embedded.clickhouse.sql.lexer import quote, render, tokens
from tests.support.clickhouse.hostile_sql import FRAGMENTS
from tests.support.store import RunningStore

_KINDS = {
    "BareWord": "word",
    "Number": "number",
    "StringLiteral": "string",
    "HereDoc": "string",
    "QuotedIdentifier": "quoted",
}
_BATCH = 500


def _of_engine(store: RunningStore, texts: list[bytes]) -> Iterable[list[tuple[int, int, str]]]:
    """The engine's tokens of each text, without blanks and comments."""
    given_ = ", ".join(f"unhex('{text.hex()}')" for text in texts)
    answer = store.ask(f"SELECT toString(tokenizeQuery(arrayJoin([{given_}]))) FORMAT TSVRaw")
    assert answer.status == 200, answer.text
    for line in answer.text.split("\n"):
        yield [
            (start, end, _KINDS.get(kind, kind if kind.startswith("Error") else "sign"))
            for start, end, kind in ast.literal_eval(line)
            if kind not in ("Whitespace", "Comment")
        ]


def _agrees(store: RunningStore, texts: list[bytes]) -> int:
    """Compares what the store can read; how many those were."""
    read = 0
    for text, expected in zip(texts, _of_engine(store, texts), strict=True):
        ours = list(tokens(text))
        if "broken" not in {token.kind for token in ours}:
            read += 1
            assert [(token.start, token.end, token.kind) for token in ours] == expected, text
    return read


def test_tokens_of_generated_texts_are_the_engines(store: RunningStore) -> None:
    """10,000 texts of what lexers disagree about, and every pair of ASCII signs."""
    draw = random.Random(7)
    texts = ["".join(draw.choices(FRAGMENTS, k=draw.randint(1, 8))).encode() for _ in range(10_000)]
    texts += [bytes([one, other]) for one in range(128) for other in range(128)]
    read = sum(_agrees(store, texts[at : at + _BATCH]) for at in range(0, len(texts), _BATCH))
    assert read > len(texts) // 4


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.lists(st.sampled_from(FRAGMENTS) | st.text(max_size=3), max_size=12), min_size=1, max_size=20)
)
def test_tokens_of_any_texts_are_the_engines(store: RunningStore, parts: list[list[str]]) -> None:
    """Hypothesis looks for a text that the two read differently."""
    _agrees(store, ["".join(one).encode("utf-8", "replace") for one in parts])


def test_render_of_a_statement_means_the_same_to_the_engine(store: RunningStore) -> None:
    """What runs instead of the text is, to the engine's own parser, the same statement."""
    draw = random.Random(11)
    same = 0
    texts = [
        "SELECT " + "".join(draw.choices([*FRAGMENTS, " 1 ", " a ", ", ", " + "], k=draw.randint(1, 6)))
        for _ in range(1500)
    ]
    for text in texts:
        ours = list(tokens(text.encode()))
        if "broken" in {token.kind for token in ours} or ";" in text:
            continue
        sql = "SELECT formatQuerySingleLineOrNull(" + "), formatQuerySingleLineOrNull(".join(
            (quote(text), quote(render(ours)))
        )
        before, after = store.ask(sql + ") FORMAT TSVRaw").text.split("\t")
        assert before == after, text
        same += before != "\\N"
    assert same > 50


_FAITHFUL = [
    "SELECT 1+1, 1e5, a ? 1 : 2, a::String, 0x10, -a, NOT a, interval 1 day, (a,1).1 FROM (SELECT 1 AS a)",
    "SELECT count(*), uniqIf(a, a > 1), sum(a) OVER (ORDER BY a) FROM (SELECT 1 AS a) GROUP BY a",
    "SELECT * EXCEPT a, * REPLACE (1 AS a), COLUMNS('a') APPLY(toString) FROM (SELECT 1 AS a)",
    "SELECT 'a' || 'b', CASE WHEN 1 THEN 1 END, substring('a' FROM 1 FOR 2), trim(BOTH 'a' FROM 'b')",
    "SELECT 'it''s', $$x$$, x'41', 'a\\nb\\t\\\\', {p:UInt8}, arrayMap(x -> x + 1, [1]), map('a', 1)['a']",
    "WITH RECURSIVE t AS (SELECT 1 AS n UNION ALL SELECT n + 1 FROM t WHERE n < 3) SELECT * FROM t",
    "SELECT a, sum(1) FROM (SELECT 1 AS a) GROUP BY GROUPING SETS ((a), ()) ORDER BY a LIMIT 1 WITH TIES",
    "SELECT a FROM (SELECT 1 AS a) ARRAY JOIN [1,2] AS z LEFT JOIN (SELECT 1 AS a, 2 AS c) AS y USING (a)",
    "SELECT number FROM numbers(10) ORDER BY number WITH FILL FROM 0 TO 12 STEP 2 LIMIT 2, 3",
    "FROM numbers(3) SELECT max(number) AS m, m * 2",
]


@pytest.mark.parametrize("sql", _FAITHFUL)
def test_what_runs_for_an_analyst_answers_as_what_came(store: RunningStore, sql: str) -> None:
    """The parser's rendering has the same columns, names, types and rows."""
    answers = [
        store.ask(f"{sql} FORMAT TSVWithNamesAndTypes", user=user, param_p=1) for user in ("admin", "analyst")
    ]
    assert (answers[0].status, answers[0].body) == (200, answers[1].body)


def test_syntax_error_of_an_analyst_shows_nothing_of_the_stores_own(store: RunningStore) -> None:
    """It is about the text that was sent."""
    answer = store.ask("SELECT 1 FROM WHERE x y", user="analyst")
    assert answer.code == 62
    assert "formatQuery" not in answer.text
