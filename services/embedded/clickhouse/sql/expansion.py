"""How much longer a statement becomes where the engine writes it out.

The engine's parser turns `x BETWEEN y AND z` into two comparisons, each with an `x` of
its own, so that one BETWEEN within another's `x` doubles the text at every level:
three hundred bytes stand for gigabytes. No limit of the engine stops it at that.
"""

from dataclasses import dataclass

from services.embedded.clickhouse.errors import StoreError
from services.embedded.clickhouse.sql.lexer import Token

MOST_LEVELS = 6
_OPENING, _CLOSING = frozenset("([{"), frozenset(")]}")
_NEW_OPERAND = (
    "or",
    "where",
    "prewhere",
    "having",
    "qualify",
    "on",
    "select",
    "from",
    "then",
    "else",
    "when",
)


@dataclass(slots=True)
class _Scope:
    """What stands between two brackets."""

    levels: int = 0
    """Of the operand that is being read."""
    most: int = 0
    awaits_and: bool = False


def check_expansion(sql: list[Token]) -> None:
    """Refuses BETWEENs that are nested deeper than `MOST_LEVELS` in their first operand,
    with or without brackets.

    Raises:
        StoreError: The statement is refused.
    """
    scopes = [_Scope()]
    for token in sql:
        scope = scopes[-1]
        if token.text in _OPENING:
            scopes.append(_Scope())
        elif token.text in _CLOSING and len(scopes) > 1:
            scopes.pop()
            scopes[-1].levels = max(scopes[-1].levels, scope.most)
            scopes[-1].most = max(scopes[-1].most, scope.most)
        else:
            _read(scope, token)
        if scopes[-1].most > MOST_LEVELS:
            raise StoreError(
                168,
                "TOO_BIG_AST",
                f"AST is too big: BETWEENs are nested over {MOST_LEVELS} deep; write them as comparisons",
            )


def _read(scope: _Scope, token: Token) -> None:
    if token.is_word("between"):
        scope.levels += 1
        scope.most = max(scope.most, scope.levels)
        scope.awaits_and = True
    elif token.is_word("and") and scope.awaits_and:
        scope.awaits_and = False
    elif token.text == "," or token.is_word("and", *_NEW_OPERAND):
        scope.levels = 0
