"""Which statements each role may use: one of the four fences of
docs/adr/0005-store-fences.md.

Two others are the engine's own (`engine/chdb_engine.py`: SQL roles with their grants,
`readonly`) and the operating system's (`engine/confinement.py`). This one exists for
what the engine lets through (measured): several statements at once, INTO OUTFILE, the
scalar `file()`, `SET ROLE`, engines that make a data directory unreadable. It errs to
the strict side: a forbidden name is refused wherever it could be a function, quoted or
not, also as `APPLY(file)` or `arrayMap(file, …)`.
"""

import re
from collections.abc import Mapping
from itertools import zip_longest

from services.embedded.clickhouse.errors import StoreError
from services.embedded.clickhouse.sql import vocabulary
from services.embedded.clickhouse.sql.analyst import check_analyst
from services.embedded.clickhouse.sql.inserts import first_word
from services.embedded.clickhouse.sql.lexer import Token
from services.embedded.clickhouse.sql.refusals import denied
from services.embedded.clickhouse.users import Role

DATABASE = "tocsin"

_NAME = re.compile(r"[A-Za-z_]\w*", re.ASCII)


def check_statement(
    sql: list[Token], role: Role, *, parameters: Mapping[str, str], reading_only: bool = False
) -> None:
    """Refuses what the role may not ask, and what nobody may.

    `parameters` are the statement's: those that stand for identifiers are held against
    the same rules. `reading_only` is a GET's.

    Raises:
        StoreError: The statement is refused; the message says why.
    """
    check_text(sql)
    _check_first_word(sql, role)
    names = [token.name for token in sql]
    for token, after in zip_longest(sql, sql[1:]):
        if token.name:
            _check_name(token.name, after)
    _check_engines(sql, names)
    for value in identifier_values(sql, parameters):
        _check_identifier(value, role)
    if role.only_reads:
        check_analyst(sql, names)
    if reading_only and first_word(sql) not in vocabulary.READS:
        raise StoreError(
            164,
            "READONLY",
            "Cannot execute query in readonly mode. For queries over HTTP, method GET implies readonly. "
            "You should use method POST.",
        )


def check_text(sql: list[Token]) -> None:
    """Refuses what cannot be read, and more than one statement.

    Raises:
        StoreError: The text is refused.
    """
    last = max((at for at, token in enumerate(sql) if token.text != ";"), default=0)
    for at, token in enumerate(sql):
        if token.kind == "broken":
            raise StoreError(
                62,
                "SYNTAX_ERROR",
                f"Syntax error: unexpected or unclosed {token.text!r} at byte {token.start}",
            )
        if token.kind == "quoted" and "\\" in token.text:
            raise StoreError(
                62,
                "SYNTAX_ERROR",
                "Syntax error: escape sequences in quoted identifiers are not supported (at byte "
                f"{token.start})",
            )
        if token.text == ";" and at < last:
            raise StoreError(
                62,
                "SYNTAX_ERROR",
                "Syntax error (Multi-statements are not allowed): send one statement a request",
            )


def _check_first_word(sql: list[Token], role: Role) -> None:
    word = first_word(sql)
    if word in vocabulary.FORBIDDEN_FIRST:
        raise denied(word.upper(), vocabulary.FORBIDDEN_FIRST[word])
    allowed = vocabulary.FIRST_WORDS.get(role)
    if allowed is not None and sql and word not in allowed:
        raise denied(word.upper() or repr(sql[0].text), f"the user's role is {role.value}")


def _check_name(name: str, after: Token | None) -> None:
    sign = after.text if after else ""
    if name == "input" and sign == "(":
        raise StoreError(
            48,
            "NOT_IMPLEMENTED",
            "input() is not supported by the embedded store: insert the rows as they are",
        )
    if _is_forbidden_word(name) or (sign == "(" and name in vocabulary.FORBIDDEN_CALLS):
        raise denied(name, "it reaches out of the store")
    if vocabulary.FORBIDDEN_SETTING.fullmatch(name):
        raise denied(f"The setting {name}", "it is the store's own")
    if name == "default" and sign == ".":
        raise denied("The database `default`", f"it shows the machine's files; use {DATABASE}")
    reason = vocabulary.FORBIDDEN_PAIRS.get((name, after.name)) if after else None
    if after and reason:
        raise denied(f"{name} {after.name}".upper(), reason)


def _is_forbidden_word(name: str) -> bool:
    return name in vocabulary.FORBIDDEN_WORDS or vocabulary.FORBIDDEN_WORD.fullmatch(name) is not None


def _check_engines(sql: list[Token], names: list[str]) -> None:
    if first_word(sql) not in ("create", "replace", "alter"):
        return
    for at, token in enumerate(sql[:-1]):
        if not token.is_word("engine"):
            continue
        assigned = sql[at + 1].text == "="
        behind = at + 2 if assigned else at + 1
        name = names[behind] if behind < len(names) else ""
        if name in vocabulary.FORBIDDEN_ENGINES or (
            assigned and name and name not in vocabulary.ALLOWED_ENGINES
        ):
            raise denied(
                f"The engine {sql[behind].text}",
                "the embedded store keeps local tables only; what needs a server goes to its own deploy step",
            )


def identifier_values(sql: list[Token], parameters: Mapping[str, str]) -> list[str]:
    """The values of those parameters that the statement uses as `{name:Identifier}`."""
    used = {
        sql[at + 1].name
        for at in range(len(sql) - 3)
        if sql[at].text == "{" and sql[at + 2].text == ":" and sql[at + 3].name == "identifier"
    }
    return [value for name, value in parameters.items() if name.lower() in used]


def _check_identifier(value: str, role: Role) -> None:
    parts = value.lower().split(".")
    if not all(_NAME.fullmatch(part) for part in parts):
        raise StoreError(
            457,
            "BAD_QUERY_PARAMETER",
            f"Value {value!r} cannot be used as an identifier parameter: letters, digits, underscores and "
            "dots only",
        )
    if "default" in parts or any(
        part in vocabulary.FORBIDDEN_CALLS or _is_forbidden_word(part) for part in parts
    ):
        raise denied(f"The identifier {value}", "it reaches out of the store")
    if role.only_reads and "system" in parts:
        raise denied(f"The identifier {value}", "name system tables in the statement itself")


def check_database(name: str, role: Role) -> str:
    """The database that a request really gets: `default` stands for Tocsin's own, since
    chDB's shows the machine's files.

    Raises:
        StoreError: The role may not use it.
    """
    if name in ("", "default"):
        return DATABASE
    if role is not Role.ADMIN and name not in (DATABASE, "information_schema", "INFORMATION_SCHEMA"):
        raise denied(f"The database {name}", f"the user's role is {role.value}")
    return name
