"""Which statements and settings each role may use: the first of two fences.

The second is the engine's own: each role is an SQL role with its grants (`engine.py`), and analysts' handles are read-only. This one exists for what the engine's grants
let through (measured): several statements at once, INTO OUTFILE, the scalar `file()`, `SET ROLE`, expressions that reach out of the process, engines that make a data
directory unreadable. It errs to the strict side: a forbidden name is refused wherever it could be a function, quoted or not, also as `APPLY(file)` or `arrayMap(file, …)`.
"""

import re
from collections.abc import Callable, Mapping

from services.embedded.clickhouse.errors import StoreError
from services.embedded.clickhouse.statements import Token, first_word
from services.embedded.clickhouse.users import Role

DATABASE = "tocsin"

# Every table function of chDB is in one of these two sets; a contract test compares them with the engine's own list.
HARMLESS_TABLE_FUNCTIONS = frozenset(
    """
    generaterandom generateseries generate_series merge mergetreeanalyzeindexes mergetreeanalyzeindexesuuid mergetreecodecblockcounts mergetreeindex
    mergetreeprojection mergetreetextindex null numbers numbers_mt primes sqlstandardvalues timeseriesdata timeseriesmetricfamilies timeseriesmetrics
    timeseriessamples timeseriesselector timeseriestags prometheusquery prometheusqueryrange values view viewexplain viewifpermitted zeros zeros_mt format loop
    dictionary
    """.split()
)
FORBIDDEN_TABLE_FUNCTIONS = frozenset(
    """
    arrowflight arrowstream azureblobstorage azureblobstoragecluster bigquery cluster clusterallreplicas cosn deltalake deltalakeazure deltalakeazurecluster deltalakecluster
    deltalakelocal deltalakes3 deltalakes3cluster eval executable file filecluster filesystem fuzzjson fuzzquery gcs hdfs hdfscluster hudi hudicluster iceberg
    icebergazure icebergazurecluster icebergcluster iceberghdfs iceberghdfscluster iceberglocal iceberglocalcluster icebergs3 icebergs3cluster input jdbc
    mongodb mysql odbc oss paimon paimonazure paimonazurecluster paimoncluster paimonhdfs paimonhdfscluster paimonlocal paimons3 paimons3cluster postgresql
    python redis remote remotesecure s3 s3cluster sqlite url urlcluster ytsaurus
    """.split()
)
# Sources of dictionaries and targets of backups that have the form of a call, too.
_FORBIDDEN_CALLS = FORBIDDEN_TABLE_FUNCTIONS | {
    "http",
    "executablepool",
    "cassandra",
    "yamlregexptree",
    "library",
    "disk",
    "azureblobstorage",
    "hascolumnintable",
}
# Scalar functions can be named without parentheses (APPLY, arrayMap), so their names are refused as words.
_FORBIDDEN_WORDS = frozenset(
    {"file", "outfile", "infile", "catboostevaluate", "reversednsquery", "showcertificate", "generateserialid", "naivebayesclassifier"}
)
_FORBIDDEN_WORD = re.compile(r"ai(classify|embed|extract|filter|generate\w*|redact|similarity|translate)")
ALLOWED_ENGINES = frozenset(
    "aggregatingmergetree alias atomic buffer coalescingmergetree collapsingmergetree dictionary generaterandom graphitemergetree join log materializedview memory "
    "merge mergetree null replacingmergetree set stripelog summingmergetree tinylog versionedcollapsingmergetree view".split()
)
# They change how the very text is read, or the protection itself, so nobody sets them, in whatever place.
FORBIDDEN_SETTINGS = frozenset(
    """
    dialect implicit_select implicit_table_at_top_level allow_experimental_kusto_dialect allow_experimental_prql_dialect allow_experimental_eval_table_function
    input_format_values_interpret_expressions input_format_values_deduce_templates_of_expressions input_format_values_accurate_types_of_literals
    format_schema format_template_resultset format_template_row format_template_resultset_format format_template_row_format default_table_engine
    default_temporary_table_engine allow_introspection_functions
    """.split()
)
# Named values only: what the store sets on every handle, so that a client that asks for the same is content.
_PINNED_SETTINGS = {"async_insert": "0"}
_FORBIDDEN_PAIRS = {
    ("set", "role"): "roles follow from the user",
    ("default", "role"): "roles follow from the user",
    ("execute", "as"): "roles follow from the user",
    ("parallel", "with"): "send one statement at a time",
    ("into", "function"): "writing goes to tables only",
    ("table", "function"): "writing goes to tables only",
    ("system", "shutdown"): "stop the process instead",
    ("system", "kill"): "stop the process instead",
    ("use", "default"): "the database `default` shows the machine's files",
}
_FORBIDDEN_FIRST = {"attach": "it reads any path", "backup": "it writes any path", "restore": "it reads any path", "execute": "roles follow from the user"}

_READS = frozenset("select with from show describe desc explain exists".split())
_FIRST_WORDS = {
    Role.ANALYST: _READS,
    Role.SERVICE: _READS | frozenset("insert delete update alter optimize set use check truncate".split()),
}
_ANALYST_SHOWS = frozenset("databases tables columns fields index indexes indices keys create table view functions settings full extended".split())
_ANALYST_SYSTEM_TABLES = frozenset(
    """
    columns tables databases functions formats settings data_type_families collations time_zones one numbers numbers_mt zeros zeros_mt keywords parts parts_columns
    data_skipping_indices projections table_engines table_functions aggregate_function_combinators licenses contributors build_options
    """.split()
)
_ANALYST_FORBIDDEN_CALLS = frozenset({"merge", "loop", "dictionary", "getserversetting", "getmacro", "joinget", "joingetornull", "sleep", "sleepeachrow"})
_ANALYST_SETTINGS = frozenset(
    """
    max_execution_time max_threads max_block_size join_use_nulls session_timezone extremes limit offset date_time_output_format cast_keep_nullable
    cancel_http_readonly_queries_on_client_close send_progress_in_http_headers http_headers_progress_interval_ms log_comment use_client_time_zone
    format_csv_delimiter format_tsv_null_representation format_csv_null_representation bool_true_representation bool_false_representation
    empty_result_for_aggregation_by_empty_set transform_null_in group_by_use_nulls prefer_column_name_to_alias http_zlib_compression_level
    """.split()
)

_NAME = re.compile(r"[A-Za-z_]\w*")


def check_statement(sql: list[Token], role: Role, *, parameters: Mapping[str, str], reading_only: bool = False) -> None:
    """Refuses what the role may not ask, and what nobody may.

    `parameters` are the statement's: those that stand for identifiers are held against the same rules. `reading_only` is a GET's.

    Raises:
        StoreError: The statement is refused; the message says why.
    """
    _check_text(sql)
    names = [token.name for token in sql]
    for check in (_check_first_word, _check_names, _check_engines):
        check(sql, names, role)
    for value in identifier_values(sql, parameters):
        _check_identifier(value, role)
    if role is Role.ANALYST:
        _check_analyst(sql, names)
    if reading_only and first_word(sql) not in _READS:
        raise StoreError(
            164, "READONLY", "Cannot execute query in readonly mode. For queries over HTTP, method GET implies readonly. You should use method POST."
        )


def _check_text(sql: list[Token]) -> None:
    for at, token in enumerate(sql):
        if token.kind == "broken":
            raise StoreError(62, "SYNTAX_ERROR", f"Syntax error: unexpected or unclosed {token.text!r} at byte {token.start}")
        if token.kind == "quoted" and "\\" in token.text:
            raise StoreError(62, "SYNTAX_ERROR", f"Syntax error: escape sequences in quoted identifiers are not supported (at byte {token.start})")
        if token.text == ";" and any(later.text != ";" for later in sql[at + 1 :]):
            raise StoreError(62, "SYNTAX_ERROR", "Syntax error (Multi-statements are not allowed): send one statement a request")


def _denied(what: str, why: str) -> StoreError:
    return StoreError(497, "ACCESS_DENIED", f"Not enough privileges. {what} is not allowed here: {why}")


def _check_first_word(sql: list[Token], _names: list[str], role: Role) -> None:
    word = first_word(sql)
    if word in _FORBIDDEN_FIRST:
        raise _denied(word.upper(), _FORBIDDEN_FIRST[word])
    allowed = _FIRST_WORDS.get(role)
    if allowed is not None and sql and word not in allowed:
        raise _denied(f"{word.upper() or sql[0].text!r}", f"the user's role is {role.value}")


def _check_names(sql: list[Token], names: list[str], _role: Role) -> None:
    for at, name in enumerate(names):
        if not name:
            continue
        after = sql[at + 1].text if at + 1 < len(sql) else ""
        if name in _FORBIDDEN_WORDS or _FORBIDDEN_WORD.fullmatch(name) or (after == "(" and name in _FORBIDDEN_CALLS):
            if name == "input":
                raise StoreError(48, "NOT_IMPLEMENTED", "input() is not supported by the embedded store: insert the rows as they are")
            raise _denied(f"{name}", "it reaches out of the store")
        if name in FORBIDDEN_SETTINGS:
            raise _denied(f"The setting {name}", "it is the store's own")
        if name == "default" and after == ".":
            raise _denied("The database `default`", f"it shows the machine's files; use {DATABASE}")
        reason = _FORBIDDEN_PAIRS.get((name, names[at + 1])) if at + 1 < len(names) else None
        if reason:
            raise _denied(f"{name} {names[at + 1]}".upper(), reason)


def _check_engines(sql: list[Token], names: list[str], _role: Role) -> None:
    if first_word(sql) not in ("create", "replace", "alter"):
        return
    for at, token in enumerate(sql[:-1]):
        if not token.is_word("engine"):
            continue
        behind = at + 2 if sql[at + 1].text == "=" else at + 1
        engine = names[behind] if behind < len(names) else ""
        if engine not in ALLOWED_ENGINES:
            raise _denied(
                f"The engine {sql[behind].text if engine else ''}",
                "the embedded store keeps local tables only; what needs a server goes to its own deploy step",
            )


def identifier_values(sql: list[Token], parameters: Mapping[str, str]) -> list[str]:
    """The values of those parameters that the statement uses as `{name:Identifier}`."""
    found = []
    for at in range(len(sql) - 3):
        if sql[at].text == "{" and sql[at + 2].text == ":" and sql[at + 3].name == "identifier":
            found.extend(value for name, value in parameters.items() if name.lower() == sql[at + 1].name)
    return found


def _check_identifier(value: str, role: Role) -> None:
    if not all(_NAME.fullmatch(part) for part in value.split(".")):
        raise StoreError(
            457, "BAD_QUERY_PARAMETER", f"Value {value!r} cannot be used as an identifier parameter: letters, digits, underscores and one dot only"
        )
    words = value.lower().split(".")
    if words[0] == "default" or any(word in _FORBIDDEN_CALLS | _FORBIDDEN_WORDS for word in words):
        raise _denied(f"The identifier {value}", "it reaches out of the store")
    if role is Role.ANALYST and "system" in words:
        raise _denied(f"The identifier {value}", "name system tables in the statement itself")


def _check_analyst(sql: list[Token], names: list[str]) -> None:
    if first_word(sql) == "show" and not _is_harmless_show(names):
        raise _denied(f"SHOW {names[1] if len(names) > 1 else ''}".upper().strip(), "analysts see the database, not the server")
    for at, name in enumerate(names[:-1]):
        after = sql[at + 1].text
        if after == "(" and name in _ANALYST_FORBIDDEN_CALLS:
            raise _denied(name, "the user's role is analyst")
        if name == "system" and after == "." and (at + 2 >= len(names) or names[at + 2] not in _ANALYST_SYSTEM_TABLES):
            raise _denied(f"system.{names[at + 2] if at + 2 < len(names) else ''}", "analysts see the database, not the server")


def _is_harmless_show(names: list[str]) -> bool:
    return any(name in _ANALYST_SHOWS for name in names[1:2]) and not {"users", "roles", "processlist", "access", "grants"} & set(names[1:3])


def check_database(name: str, role: Role) -> str:
    """The database that a request really gets: `default` stands for Tocsin's own, since chDB's shows the machine's files.

    Raises:
        StoreError: The role may not use it.
    """
    if name in ("", "default"):
        return DATABASE
    if role is not Role.ADMIN and name.lower() not in (DATABASE, "information_schema"):
        raise _denied(f"The database {name}", f"the user's role is {role.value}")
    return name


def check_settings(settings: Mapping[str, str], role: Role, *, max_execution_s: float) -> dict[str, str]:
    """The settings of a request as they are applied: nobody's may change the protection, an analyst's are a short list, its time limit capped.

    Raises:
        StoreError: One of them is refused.
    """
    for name in settings:
        if not _NAME.fullmatch(name):
            raise StoreError(115, "UNKNOWN_SETTING", f"Unknown setting {name!r}")
        if name.lower() in FORBIDDEN_SETTINGS:
            raise StoreError(452, "SETTING_CONSTRAINT_VIOLATION", f"Setting {name} should not be changed: it is the store's own")
        if settings[name] != _PINNED_SETTINGS.get(name, settings[name]):
            raise StoreError(
                452, "SETTING_CONSTRAINT_VIOLATION", f"Setting {name} should be {_PINNED_SETTINGS[name]}: an answer means that the rows are stored"
            )
        if role is Role.ANALYST and not _is_analyst_setting(name):
            raise StoreError(164, "READONLY", f"Cannot modify '{name}' setting in readonly mode: the user's role is analyst")
    if role is not Role.ANALYST or "max_execution_time" not in settings:
        return dict(settings)
    return {**settings, "max_execution_time": _capped(settings["max_execution_time"], max_execution_s)}


_ANALYST_SETTING_STARTS: tuple[str, ...] = ("output_format_",)
_is_path_setting: Callable[[str], bool] = lambda name: "schema" in name or "template" in name or name.endswith("_path")  # noqa: E731


def _is_analyst_setting(name: str) -> bool:
    return name in _ANALYST_SETTINGS or (name.startswith(_ANALYST_SETTING_STARTS) and not _is_path_setting(name))


def _capped(value: str, limit: float) -> str:
    try:
        asked = float(value)
    except ValueError:
        raise StoreError(72, "CANNOT_PARSE_NUMBER", f"Cannot parse max_execution_time {value!r} as a number of seconds") from None
    return str(min(asked, limit) if asked > 0 else limit)
