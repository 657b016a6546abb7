"""Which statements and settings each role may use: the first of two fences.

The second is the engine's own: each role is an SQL role with its grants (`engine.py`),
and analysts' handles are read-only. This one exists for what the engine lets through
(measured): several statements at once, lifted limits, INTO OUTFILE, the scalar
`file()`, `SET ROLE`, engines that make a data directory unreadable. It errs to the
strict side: a forbidden name is refused wherever it could be a function, quoted or not,
also as `APPLY(file)` or `arrayMap(file, …)`.
"""

import re
from collections.abc import Mapping

from services.embedded.clickhouse import vocabulary
from services.embedded.clickhouse.errors import StoreError
from services.embedded.clickhouse.statements import Token, first_word
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
    _check_text(sql)
    _check_first_word(sql, role)
    names = [token.name for token in sql]
    for at, name in enumerate(names):
        if name:
            _check_name(name, sql[at + 1 :], names[at + 1 :])
    _check_engines(sql, names)
    for value in identifier_values(sql, parameters):
        _check_identifier(value, role)
    if role is Role.ANALYST:
        _check_analyst(sql, names)
    if reading_only and first_word(sql) not in vocabulary.READS:
        raise StoreError(
            164,
            "READONLY",
            "Cannot execute query in readonly mode. For queries over HTTP, method GET implies readonly. "
            "You should use method POST.",
        )


def _denied(what: str, why: str) -> StoreError:
    return StoreError(497, "ACCESS_DENIED", f"Not enough privileges. {what} is not allowed here: {why}")


def _check_text(sql: list[Token]) -> None:
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
        if token.text == ";" and any(later.text != ";" for later in sql[at + 1 :]):
            raise StoreError(
                62,
                "SYNTAX_ERROR",
                "Syntax error (Multi-statements are not allowed): send one statement a request",
            )


def _check_first_word(sql: list[Token], role: Role) -> None:
    word = first_word(sql)
    if word in vocabulary.FORBIDDEN_FIRST:
        raise _denied(word.upper(), vocabulary.FORBIDDEN_FIRST[word])
    allowed = vocabulary.FIRST_WORDS.get(role)
    if allowed is not None and sql and word not in allowed:
        raise _denied(word.upper() or repr(sql[0].text), f"the user's role is {role.value}")


def _check_name(name: str, after: list[Token], names_after: list[str]) -> None:
    sign = after[0].text if after else ""
    if name == "input" and sign == "(":
        raise StoreError(
            48,
            "NOT_IMPLEMENTED",
            "input() is not supported by the embedded store: insert the rows as they are",
        )
    if _is_forbidden_word(name) or (sign == "(" and name in vocabulary.FORBIDDEN_CALLS):
        raise _denied(name, "it reaches out of the store")
    if vocabulary.FORBIDDEN_SETTING.fullmatch(name):
        raise _denied(f"The setting {name}", "it is the store's own")
    if name == "default" and sign == ".":
        raise _denied("The database `default`", f"it shows the machine's files; use {DATABASE}")
    reason = vocabulary.FORBIDDEN_PAIRS.get((name, names_after[0])) if names_after else None
    if reason:
        raise _denied(f"{name} {names_after[0]}".upper(), reason)


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
            raise _denied(
                f"The engine {sql[behind].text}",
                "the embedded store keeps local tables only; what needs a server goes to its own deploy step",
            )


def identifier_values(sql: list[Token], parameters: Mapping[str, str]) -> list[str]:
    """The values of those parameters that the statement uses as `{name:Identifier}`."""
    found: list[str] = []
    for at in range(len(sql) - 3):
        if sql[at].text == "{" and sql[at + 2].text == ":" and sql[at + 3].name == "identifier":
            found.extend(value for name, value in parameters.items() if name.lower() == sql[at + 1].name)
    return found


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
        raise _denied(f"The identifier {value}", "it reaches out of the store")
    if role is Role.ANALYST and "system" in parts:
        raise _denied(f"The identifier {value}", "name system tables in the statement itself")


def _check_analyst(sql: list[Token], names: list[str]) -> None:
    if first_word(sql) == "show" and (
        len(names) < 2
        or names[1] not in vocabulary.ANALYST_SHOWS
        or {"user", "role", "users", "roles"} & set(names[2:3])
    ):
        raise _denied(
            f"SHOW {names[1] if len(names) > 1 else ''}".upper().strip(),
            "analysts see the database, not the server",
        )
    for at, name in enumerate(names[:-1]):
        sign = sql[at + 1].text
        if sign == "(" and name in vocabulary.ANALYST_FORBIDDEN_CALLS:
            raise _denied(name, "the user's role is analyst")
        table = names[at + 2] if at + 2 < len(names) else ""
        if name == "system" and sign == "." and table not in vocabulary.ANALYST_SYSTEM_TABLES:
            raise _denied(f"system.{table}", "analysts see the database, not the server")
        if (
            sql[at].is_word("settings")
            and names[at + 1]
            and (at == 0 or sql[at - 1].text != ".")
            and first_word(sql) != "show"
        ):
            _check_settings_clause(sql[at + 1 :])


def _check_settings_clause(sql: list[Token]) -> None:
    """An analyst's SETTINGS clause: `name = value, …` with harmless names, and an end
    that is one; anything that does not look exactly so is refused.
    """
    for at in range(0, len(sql) + 1, 4):
        name, sign, value, end = (sql[at + step] if at + step < len(sql) else None for step in range(4))
        harmless = (
            name is not None and name.name in vocabulary.ANALYST_SETTINGS - vocabulary.ANALYST_URL_SETTINGS
        )
        if (
            not harmless
            or sign is None
            or sign.text != "="
            or value is None
            or value.kind not in ("word", "string")
            or not _may_follow_a_setting(end)
        ):
            shown = name.text if name else ""
            raise StoreError(
                164,
                "READONLY",
                f"Cannot modify '{shown}' setting in readonly mode: the user's role is analyst (limits "
                "can be lowered in the URL)",
            )
        if end is None or end.text != ",":
            return


def _may_follow_a_setting(token: Token | None) -> bool:
    return (
        token is None
        or token.text in (",", ")", ";")
        or token.is_word("format", "union", "intersect", "except", "into")
    )


def check_database(name: str, role: Role) -> str:
    """The database that a request really gets: `default` stands for Tocsin's own, since
    chDB's shows the machine's files.

    Raises:
        StoreError: The role may not use it.
    """
    if name in ("", "default"):
        return DATABASE
    if role is not Role.ADMIN and name not in (DATABASE, "information_schema", "INFORMATION_SCHEMA"):
        raise _denied(f"The database {name}", f"the user's role is {role.value}")
    return name


def check_settings(settings: Mapping[str, str], role: Role, *, max_execution_s: float) -> dict[str, str]:
    """The settings of a request as they are applied: nobody's may change the
    protection, an analyst's are a short list, its time limit capped.

    Raises:
        StoreError: One of them is refused.
    """
    for name, value in settings.items():
        _check_setting(name, value, role)
    if role is not Role.ANALYST or "max_execution_time" not in settings:
        return dict(settings)
    return {**settings, "max_execution_time": _capped(settings["max_execution_time"], max_execution_s)}


def _check_setting(name: str, value: str, role: Role) -> None:
    if not _NAME.fullmatch(name):
        raise StoreError(115, "UNKNOWN_SETTING", f"Unknown setting {name!r}")
    if vocabulary.FORBIDDEN_SETTING.fullmatch(name.lower()):
        raise StoreError(
            452,
            "SETTING_CONSTRAINT_VIOLATION",
            f"Setting {name} should not be changed: it is the store's own",
        )
    if value != vocabulary.PINNED_SETTINGS.get(name, value):
        raise StoreError(
            452,
            "SETTING_CONSTRAINT_VIOLATION",
            f"Setting {name} should be {vocabulary.PINNED_SETTINGS[name]}: an answer means that rows are "
            "stored",
        )
    if role is Role.ANALYST and not _is_analyst_setting(name):
        raise StoreError(
            164, "READONLY", f"Cannot modify '{name}' setting in readonly mode: the user's role is analyst"
        )


def _is_analyst_setting(name: str) -> bool:
    names_a_file = "schema" in name or "template" in name or name.endswith("_path")
    return name in vocabulary.ANALYST_SETTINGS or (name.startswith("output_format_") and not names_a_file)


def _capped(value: str, limit: float) -> str:
    try:
        asked = float(value)
    except ValueError:
        raise StoreError(
            72, "CANNOT_PARSE_NUMBER", f"Cannot parse max_execution_time {value!r} as a number of seconds"
        ) from None
    return str(min(asked, limit) if asked > 0 else limit)
