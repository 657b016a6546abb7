"""What analysts may ask beyond the rules for everybody: which SHOWs, which system
tables, which SETTINGS; and what they get in place of what shows other people's work.

These rules read the engine's own rendering of a statement (`formatQuerySingleLine`),
so a clause has one form.
"""

from services.embedded.clickhouse.errors import StoreError
from services.embedded.clickhouse.sql import vocabulary
from services.embedded.clickhouse.sql.inserts import first_word
from services.embedded.clickhouse.sql.lexer import Token, render
from services.embedded.clickhouse.sql.refusals import denied

# What stands for tables that show more than an analyst's own: nobody's queries, and
# the settings with what an analyst may change (drivers ask before they send one).
_NOBODYS_PROCESSES = "(SELECT * FROM system.processes WHERE 0)"
_CHANGEABLE = ", ".join(f"'{name}'" for name in sorted(vocabulary.ANALYST_SETTINGS))
_SETTINGS = f"(SELECT * REPLACE (if(name IN ({_CHANGEABLE}), 0, 1) AS readonly) FROM system.settings)"  # noqa: S608  our words
_IN_PLACE_OF = {"processes": _NOBODYS_PROCESSES, "settings": _SETTINGS}
_GRANTS = "SELECT 'GRANT SELECT, SHOW, dictGet ON tocsin.* TO analyst' AS `GRANTS FOR analyst`"
# What follows a column or a table that happens to be called `settings`. No setting has
# one of these names (a contract test asks the engine).
NO_SETTING = (
    *("from", "as", "where", "prewhere", "group", "having", "union", "asc", "desc", "and", "or", "in", "not"),
    *("is", "like", "ilike", "between"),
)


def check_analyst(sql: list[Token], names: list[str]) -> None:
    """Refuses what an analyst may not ask; settings are `check_settings`' business.

    Raises:
        StoreError: The statement is refused.
    """
    if first_word(sql) == "show":
        _check_show(sql, names)
    if first_word(sql) == "use" and names[1:2] not in ([name] for name in vocabulary.ANALYST_DATABASES):
        raise denied("That database", "the user's role is analyst")
    for at, name in enumerate(names[:-1]):
        sign = sql[at + 1].text
        if sign == "(" and name in vocabulary.ANALYST_FORBIDDEN_CALLS:
            raise denied(name, "the user's role is analyst")
        if name == "system" and sign == ".":
            _check_system_table(sql, names, at)


def _check_show(sql: list[Token], names: list[str]) -> None:
    what = names[1] if len(names) > 1 else ""
    plain = len(sql) == 2 or (len(sql) == 4 and sql[2].is_word("format"))
    allowed = what in vocabulary.ANALYST_SHOWS or (plain and what in ("grants", "processlist"))
    if not allowed or {"user", "role", "users", "roles"} & set(names[2:3]):
        raise denied(f"SHOW {what}".upper().strip(), "analysts see the database, not the server")


def _check_system_table(sql: list[Token], names: list[str], at: int) -> None:
    table = names[at + 2] if at + 2 < len(names) else ""
    described = at > 0 and sql[at - 1].is_word("table") and first_word(sql) in ("describe", "exists")
    if (
        table not in vocabulary.ANALYST_SYSTEM_TABLES
        and not (table and described)
        and not _is_replaced(sql, names, at)
    ):
        raise denied(f"system.{table}", "analysts see the database, not the server")


def _is_replaced(sql: list[Token], names: list[str], at: int) -> bool:
    """Whether a table begins here that the statement gets something else for."""
    return (
        names[at] == "system"
        and at + 2 < len(sql)
        and sql[at + 1].text == "."
        and names[at + 2] in _IN_PLACE_OF
        and at > 0
        and sql[at - 1].is_word("from", "join")
        and first_word(sql) in ("select", "with", "explain", "describe")
    )


def rewritten(sql: list[Token]) -> str:
    """The statement as an analyst runs it: other people's queries are not there, and
    SHOW GRANTS and system.settings tell the analyst's rights, not the process'.
    """
    names = [token.name for token in sql]
    if names[:2] == ["show", "grants"]:
        return f"{_GRANTS} {render(sql[2:])}".rstrip()
    if names[:2] == ["show", "processlist"]:
        return f"{_NOBODYS_PROCESSES[1:-1]} {render(sql[2:])}".rstrip()
    replaced: list[Token] = []
    at = 0
    while at < len(sql):
        if _is_replaced(sql, names, at):
            replaced.append(Token("sign", _IN_PLACE_OF[names[at + 2]], sql[at].start, sql[at + 2].end))
            at += 3
        else:
            replaced.append(sql[at])
            at += 1
    return render(replaced)


def settings_clauses(sql: list[Token]) -> dict[str, str]:
    """The settings in all SETTINGS clauses of a statement.

    Raises:
        StoreError: A clause is not `name = literal, …`, or two of them differ.
    """
    found: dict[str, str] = {}
    for at, token in enumerate(sql[:-1]):
        after = sql[at + 1]
        if (
            token.is_word("settings")
            and after.name
            and not after.is_word(*NO_SETTING)
            and not (at and (sql[at - 1].text == "." or sql[at - 1].is_word("show", "as")))
        ):
            for name, value in _read_clause(sql, at + 1):
                if found.setdefault(name, value) != value:
                    raise _refused(name, "it has two values")
    return found


def _read_clause(sql: list[Token], at: int) -> list[tuple[str, str]]:
    found = []
    while True:
        name, value = sql[at].name if at < len(sql) else "", "1"
        at += 1
        if at < len(sql) and sql[at].text == "=":
            value = _literal(sql[at + 1] if at + 1 < len(sql) else None, name)
            at += 2
        found.append((name, value))
        if at < len(sql) and sql[at].text == "," and sql[at].kind == "sign":
            at += 1
            continue
        if not name or not _may_follow_a_setting(sql[at] if at < len(sql) else None):
            raise _refused(name, "a SETTINGS clause is name = value, …")
        return found


def _literal(token: Token | None, name: str) -> str:
    if token and token.kind == "number":
        return token.text.removesuffix(".")
    if token and token.kind == "string" and token.text.startswith("'") and "\\" not in token.text:
        return token.text[1:-1].replace("''", "'")
    if token and token.is_word("true", "false"):
        return "1" if token.is_word("true") else "0"
    raise _refused(name, "its value is no number, string or bool")


def _may_follow_a_setting(token: Token | None) -> bool:
    return (
        token is None
        or token.text in (")", ";")
        or token.is_word("format", "union", "intersect", "except", "into")
    )


def _refused(name: str, why: str) -> StoreError:
    return StoreError(
        164, "READONLY", f"Cannot modify '{name}' setting in readonly mode: the user's role is analyst; {why}"
    )
