"""Statements that the engine would write out far longer."""

import pytest

from services.embedded.clickhouse.errors import StoreError
from services.embedded.clickhouse.sql.expansion import MOST_LEVELS, check_expansion
from services.embedded.clickhouse.sql.lexer import tokens

FORMS = [
    "({x}) BETWEEN 0 AND 1",
    "({x}) NOT BETWEEN 0 AND 1",
    "{x} BETWEEN 0 AND 1",
    "f(1, {x}) between 0 AND 1",
    "[{x}][1] BETWEEN 0 AND 1",
    "((({x}))) BETWEEN 0 AND 1 + 1",
    "(SELECT a FROM t WHERE {x}) BETWEEN 0 AND 1",
]


def nested(form: str, levels: int) -> str:
    """A SELECT of so many BETWEENs within each other."""
    expression = "1"
    for _ in range(levels):
        expression = form.replace("{x}", expression)
    return f"SELECT {expression}"


@pytest.mark.parametrize("form", FORMS)
def test_betweens_within_each_other_are_refused_beyond_a_few(form: str) -> None:
    """However they are nested; a few are allowed."""
    check_expansion(list(tokens(nested(form, MOST_LEVELS).encode())))
    with pytest.raises(StoreError, match="AST is too big"):
        check_expansion(list(tokens(nested(form, MOST_LEVELS + 1).encode())))


@pytest.mark.parametrize("joint", [" AND ", " OR ", ", "])
def test_betweens_beside_each_other_are_allowed(joint: str) -> None:
    """As many as a dashboard likes, in brackets or not."""
    for one in ("a BETWEEN 1 AND 2", "(a NOT BETWEEN 1 AND 2)", "f(a) BETWEEN g(1) AND (2)"):
        check_expansion(list(tokens(f"SELECT {joint.join([one] * 500)}".encode())))


def test_betweens_in_a_bound_are_allowed() -> None:
    """Only the first operand is written twice."""
    check_expansion(list(tokens(nested("a BETWEEN ({x}) AND ({x})", 8).encode())))
