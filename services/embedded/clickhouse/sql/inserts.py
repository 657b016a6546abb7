"""Where an INSERT ends and its data begins, and what kind of statement some tokens are."""

import re
from dataclasses import dataclass
from enum import Enum

from services.embedded.clickhouse.errors import StoreError
from services.embedded.clickhouse.sql.lexer import Token, render, tokens

_SEPARATOR = re.compile(rb"[ \t\f]*(;)?\r?\n?")


class Head(Enum):
    """What the beginning of a body turned out to be, when it is not an INSERT with
    data.
    """

    INCOMPLETE = "more bytes are needed to tell"
    WHOLE = "a statement without data behind it"


@dataclass(frozen=True, slots=True)
class InsertHead:
    """An INSERT whose rows follow: the statement without its FORMAT or VALUES, the
    format of the rows, and the byte at which they begin.
    """

    statement: str
    format: str
    data_at: int


def read_head(sql: bytes, *, complete: bool) -> InsertHead | Head:
    """Finds the end of an INSERT and the beginning of its data in the first bytes of a
    body; `complete` says that nothing follows.

    Raises:
        StoreError: A semicolon between the FORMAT clause and the data.
    """
    before = _before_data(sql, complete=complete)
    if isinstance(before, Head):
        return before
    clause = before.pop()
    if clause.is_word("values"):
        return InsertHead(render(before), "Values", clause.end)
    return _data_after_format(sql, before, clause, complete=complete)


def _before_data(sql: bytes, *, complete: bool) -> list[Token] | Head:
    """The tokens of an INSERT up to the FORMAT or VALUES that ends it."""
    seen: list[Token] = []
    depth, before = 0, ""
    for token in tokens(sql):
        if token.kind == "broken" or (token.end == len(sql) and not complete):  # cut in the middle, maybe
            break
        if not before and not token.is_word("insert"):
            return Head.WHOLE
        seen.append(token)
        depth += {"(": 1, ")": -1}.get(token.text, 0)
        if depth == 0 and before not in ("into", "table", "."):
            if token.is_word("select", "with", "from"):
                return Head.WHOLE
            if token.is_word("values", "format"):
                return seen
        before = token.text.lower()
    return Head.WHOLE if complete else Head.INCOMPLETE


def _data_after_format(
    sql: bytes, before: list[Token], clause: Token, *, complete: bool
) -> InsertHead | Head:
    name = next(tokens(sql[clause.end :]), None)
    name_end = clause.end + name.end if name else len(sql)
    separator = _SEPARATOR.match(sql, name_end)
    data_at = separator.end() if separator else name_end
    if separator and separator.group(1):
        raise StoreError(62, "SYNTAX_ERROR", "You have excessive ';' symbol before data for INSERT.")
    if data_at == len(sql) and not complete and not sql.endswith(b"\n"):
        return Head.INCOMPLETE
    if name is None or name.kind != "word":
        return Head.WHOLE
    return InsertHead(render(before), name.text, data_at)


def first_word(sql: list[Token]) -> str:
    """The keyword that a statement begins with, lower case; parentheses before it are
    passed over.
    """
    return next((token.name if token.kind == "word" else "" for token in sql if token.text != "("), "")


def output_format(sql: list[Token]) -> str | None:
    """The name in the statement's own FORMAT clause, if it has one."""
    depth, found = 0, None
    for at, token in enumerate(sql):
        depth += {"(": 1, ")": -1}.get(token.text, 0)
        if depth == 0 and token.is_word("format") and at + 1 < len(sql) and sql[at + 1].kind == "word":
            after = sql[at + 2] if at + 2 < len(sql) else None
            if after is None or after.text == ";" or after.is_word("settings"):
                found = sql[at + 1].text
    return found
