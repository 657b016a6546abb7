"""SQL as tokens: those of ClickHouse's own lexer (`src/Parsers/Lexer.cpp`), or none.

A filter that reads a text differently from the engine is no filter, so there are three
rules. What is a token here is the same token there: a contract test compares the two
over thousands of texts (`tokenizeQuery`). What this lexer does not know exactly (a
quote that is not closed, typographic quotes, a lone dollar, NUL) is a token of kind
`broken`, and a statement with one is refused. And the engine never gets the text that
came, but `render` of the tokens: no comments, one blank where there was a gap, heredocs
as ordinary strings.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

# Blanks of other scripts that the engine skips, too: next line, no-break,
# ideographic, byte order mark.
_BLANK = rb"[ \t\n\r\f\v] | \xc2\x85 | \xc2\xa0 | \xe3\x80\x80 | \xef\xbb\xbf"
_DECIMALS = rb"[0-9]++(?:_[0-9]++)*+"
_HEXADECIMALS = rb"[0-9a-fA-F]++(?:_[0-9a-fA-F]++)*+"
_NUMBER = re.compile(
    rb"0[xX]%(hex)s(?:\.(?:%(hex)s)?)?+(?:[pP][+-]?%(dec)s)?+ | 0[bB][01]++(?![0-9_.eE])"
    rb"| %(dec)s(?:\.(?:%(dec)s)?)?+(?:[eE][+-]?%(dec)s)?+ | \.%(dec)s(?:[eE][+-]?%(dec)s)?+"
    % {b"hex": _HEXADECIMALS, b"dec": _DECIMALS},
    re.VERBOSE,
)
_AFTER_DOT = re.compile(_DECIMALS)
_WORD_CHARACTERS = re.compile(rb"[A-Za-z0-9_]*+")
_TOKEN = re.compile(
    rb"""
      (?P<space>(?:%(blank)s)++)
    | (?P<comment>(?:--|//|\#[ !])[^\n]*+)
    | (?P<nested>/\*)
    | (?P<string>'[^'\\]*+(?:(?:\\.|'')[^'\\]*+)*+' | [xX]'[0-9a-fA-F]*+' | [bB]'[01]*+'
        | \$(?P<tag>[A-Za-z0-9_]*+)\$.*?\$(?P=tag)\$)
    | (?P<broken>[xXbB]'|[^\x21-\x7e])
    | (?P<quoted>`[^`\\]*+(?:(?:\\.|``)[^`\\]*+)*+` | "[^"\\]*+(?:(?:\\.|"")[^"\\]*+)*+")
    | (?P<number>\.?[0-9])
    | (?P<word>[A-Za-z_][A-Za-z0-9_$]*+)
    | (?P<sign><=>|!~\*|!~|~\*|\|>|->|::|\|\||@@|==|!=|<=|>=|<>|[-()\[\]{},;.*+/%%=<>?:|@^~])
    | (?P<other>.)
    """
    % {b"blank": _BLANK},
    re.VERBOSE | re.DOTALL,
)
_ESCAPED_BYTE = re.compile(rb"\\[\x80-\xff]")
_TWO_READINGS = re.compile(rb"0[bB][01] | [0-9_]+[eEpP]\Z | 0[xX][0-9a-fA-F_]+[pP]\Z", re.VERBOSE)
_NESTED = re.compile(rb"/\*|\*/")


@dataclass(frozen=True, slots=True)
class Token:
    r"""A piece of SQL: kind (word, quoted, string, number, sign, broken), its text as
    written (an `\xff` for a byte that is not UTF-8), where it starts and ends (bytes).
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
    """The tokens of some SQL without blanks and comments, lazily; after a broken one
    there are no more.
    """
    at, before = 0, None
    while at < len(sql):
        kind, end = _next(sql, at, before)
        if kind not in ("space", "comment"):
            before = Token(kind, sql[at:end].decode("utf-8", "backslashreplace"), at, end)
            yield before
            if kind == "broken":
                return
        at = end


def _next(sql: bytes, at: int, before: Token | None) -> tuple[str, int]:
    """The kind of what stands at a byte, and where it ends."""
    match = _TOKEN.match(sql, at)
    if match is None:  # never: `other` takes any byte
        return "broken", len(sql)
    kind = "string" if match.lastgroup == "tag" else str(match.lastgroup)
    if kind == "nested":
        return _comment(sql, match.end())
    if kind == "number":
        return _number(sql, at, before)
    if (
        kind == "other"
        or (match.group() == b"." and before is None)
        or (kind in ("string", "quoted") and not _is_plain(match.group()))
    ):
        return "broken", match.end()
    return kind, match.end()


def _is_plain(text: bytes) -> bool:
    """Whether something quoted can be shown as text: bytes that are not UTF-8 only
    where an escape says the same.
    """
    if b"\0" in text:
        return False
    try:
        text.decode()
    except UnicodeDecodeError:
        return text.startswith(b"'") and not _ESCAPED_BYTE.search(text)
    return True


def _comment(sql: bytes, at: int) -> tuple[str, int]:
    """A comment that has begun before `at`; comments nest."""
    depth = 1
    for match in _NESTED.finditer(sql, at):
        depth += 1 if match.group() == b"/*" else -1
        if depth == 0:
            return "comment", match.end()
    return "broken", len(sql)


def _number(sql: bytes, at: int, before: Token | None) -> tuple[str, int]:
    """A number, a word that begins with digits, or the dot of `a.1`."""
    if sql[at : at + 1] == b"." and before is not None and _may_have_a_member(before):
        return "sign", at + 1
    member = before is not None and before.text == "." and before.kind == "sign"
    match = (_AFTER_DOT if member else _NUMBER).match(sql, at)
    if match is None:
        return "broken", at + 1
    rest = _WORD_CHARACTERS.match(sql, match.end())
    end = rest.end() if rest else match.end()
    if end == match.end():
        return "number", end
    # 1st is an identifier; 1.a and 1e+5x are nothing; 1e and 0b12 are read in two ways.
    text = sql[at:end]
    word = text.replace(b"_", b"a").isalnum() and not _TWO_READINGS.match(text)
    return ("word" if word else "broken"), end


def _may_have_a_member(token: Token) -> bool:
    return token.kind in ("word", "quoted", "number") or (token.kind == "sign" and token.text in (")", "]"))


def render(sql: Iterable[Token]) -> str:
    """The statement as the engine gets it: nothing but these tokens, a blank where the
    source had a gap.
    """
    parts: list[str] = []
    end = 0
    for token in sql:
        heredoc = token.kind == "string" and token.text.startswith("$")
        if parts and (token.start > end or heredoc):
            parts.append(" ")
        parts.append(_as_literal(token.text) + " " if heredoc else token.text)
        end = token.end
    return "".join(parts).rstrip()


def _as_literal(heredoc: str) -> str:
    tag = heredoc.index("$", 1) + 1
    return quote(heredoc[tag:-tag])


def quote(text: str) -> str:
    """A string literal."""
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'").replace("\0", "\\0") + "'"
