"""SQL as tokens: enough to see what a statement is, never what it means.

The tokens are those of ClickHouse's own lexer where it matters for safety: quotes with
backslashes and doubled quotes, heredocs, `--`, `#` and `/* */` comments. What that
lexer would read otherwise (typographic quotes, odd blanks, an unclosed quote) becomes a
token of kind `broken`, and a statement with one is refused.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum

from services.embedded.clickhouse.errors import StoreError

_TOKEN = re.compile(
    rb"""
      (?P<space>[ \t\n\r\f\v]++)
    | (?P<comment>--[^\n]*+ | \#[ !][^\n]*+ | /\*.*?\*/)
    | (?P<string>'[^'\\]*+(?:(?:\\.|'')[^'\\]*+)*+' | \$(?P<tag>\w*)\$.*?\$(?P=tag)\$)
    | (?P<quoted>`[^`\\]*+(?:(?:\\.|``)[^`\\]*+)*+` | "[^"\\]*+(?:(?:\\.|"")[^"\\]*+)*+")
    | (?P<word>[A-Za-z0-9_][A-Za-z0-9_$]*+)
    | (?P<broken>/\* | ['"`] | \$\w*\$ | [^\x21-\x7e])
    | (?P<sign>.)
    """,
    re.VERBOSE | re.DOTALL,
)
_SEPARATOR = re.compile(rb"[ \t\f]*(;)?\r?\n?")


@dataclass(frozen=True, slots=True)
class Token:
    """A piece of SQL: kind (word, quoted, string, sign, broken), its text as written,
    where it starts and ends (bytes).
    """

    kind: str
    text: str
    start: int
    end: int

    @property
    def name(self) -> str:
        """The identifier or keyword that it spells, lower case and without quotes;
        empty for anything else.
        """
        if self.kind == "word":
            return self.text.lower()
        if self.kind == "quoted":
            return self.text[1:-1].lower()
        return ""

    def is_word(self, *words: str) -> bool:
        """Whether it is one of these keywords (lower case), unquoted."""
        return self.kind == "word" and self.text.lower() in words


def tokens(sql: bytes) -> Iterator[Token]:
    """The tokens of some SQL without blanks and comments, lazily."""
    for match in _TOKEN.finditer(sql):
        kind = match.lastgroup if match.lastgroup != "tag" else "string"
        if kind not in ("space", "comment"):
            yield Token(str(kind), match.group().decode("utf-8", "replace"), match.start(), match.end())


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
    clause = _data_clause(sql, complete=complete)
    if isinstance(clause, Head):
        return clause
    if clause.is_word("values"):
        return InsertHead(_text(sql[: clause.start]), "Values", clause.end)
    return _data_after_format(sql, clause, complete=complete)


def _data_clause(sql: bytes, *, complete: bool) -> Token | Head:
    """The FORMAT or VALUES that ends an INSERT."""
    depth, before = 0, ""
    for token in tokens(sql):
        if token.kind == "broken" or (token.end == len(sql) and not complete):  # cut in the middle, maybe
            break
        if not before and not token.is_word("insert"):
            return Head.WHOLE
        depth += {"(": 1, ")": -1}.get(token.text, 0)
        if depth == 0 and before not in ("into", "table", "."):
            if token.is_word("select", "with", "from"):
                return Head.WHOLE
            if token.is_word("values", "format"):
                return token
        before = token.text.lower()
    return Head.WHOLE if complete else Head.INCOMPLETE


def _data_after_format(sql: bytes, clause: Token, *, complete: bool) -> InsertHead | Head:
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
    return InsertHead(_text(sql[: clause.start]), name.text, data_at)


def _text(sql: bytes) -> str:
    return sql.decode("utf-8", "replace").rstrip()


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
