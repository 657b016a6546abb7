"""From a request to a handle that may run it: the statement is understood, checked, and
put into the form that runs; the handle gets its role, database, settings, parameters.
"""

from collections.abc import Callable
from functools import partial

from services.embedded.clickhouse.engine.chdb_engine import (
    Engine,
    EngineLimits,
    Handle,
    apply_parameters,
    apply_settings,
    tag,
    use_database,
)
from services.embedded.clickhouse.engine.sessions import RequestSettings, Session, Sessions, session_timeout_s
from services.embedded.clickhouse.errors import StoreError
from services.embedded.clickhouse.exchange import Exchange, Statement
from services.embedded.clickhouse.http.request import Request
from services.embedded.clickhouse.sql import rights, vocabulary
from services.embedded.clickhouse.sql.analyst import rewritten, settings_clauses
from services.embedded.clickhouse.sql.expansion import check_expansion
from services.embedded.clickhouse.sql.inserts import first_word
from services.embedded.clickhouse.sql.lexer import render, tokens
from services.embedded.clickhouse.sql.settings import check_clause, check_settings
from services.embedded.clickhouse.users import Role, User

_CHANGES = vocabulary.FIRST_WORDS[Role.SERVICE] - vocabulary.READS


class HandleFactory:
    """Opens handles for the statements of one store."""

    def __init__(self, engine: Engine, limits: EngineLimits) -> None:
        self._engine = engine
        self._limits = limits
        self._sessions = Sessions()

    def open(self, exchange: Exchange) -> tuple[Handle, Callable[[], None]]:
        """A handle for the statement, which has been understood by then, and what gives
        the handle back. Blocking.

        Raises:
            StoreError: The statement or one of its settings is refused.
        """
        request, user, statement = exchange.request, exchange.user, exchange.statement
        self._understand(statement, user.role)
        rights.check_statement(
            statement.parsed, user.role, parameters=request.parameters, reading_only=exchange.reads_only
        )
        if user.role.only_reads:
            statement.text = rewritten(statement.parsed)
        settings = self._settings(exchange)
        database = rights.check_database(request.interface.get("database", ""), user.role)
        # An analyst's session could hold nothing (no SET, no temporary tables), and a
        # sealed handle cannot be given settings twice: it is not kept.
        session_id = request.interface.get("session_id")
        if session_id and not user.role.only_reads:
            return self._open_session(request, user, session_id, settings, database)
        handle = self._engine.handle(user.role)
        try:
            use_database(handle, database)
            self._prepare(handle, exchange, {**self._engine.defaults(user.role, user.tenant), **settings})
        except StoreError:
            handle.close()
            raise
        return handle, handle.close

    def end_sessions(self) -> None:
        """Closes the handles that sessions hold."""
        self._sessions.end_all()

    def _understand(self, statement: Statement, role: Role) -> None:
        """Reads the statement by its tokens and, where the engine will run it with
        somebody else's rights than everybody's, by the engine's own parser: what that
        renders is what is checked and what runs.
        """
        statement.parsed = list(tokens(statement.sql))
        rights.check_text(statement.parsed)
        if not statement.parsed:
            raise StoreError(62, "SYNTAX_ERROR", "Syntax error: Empty query")
        statement.text = render(statement.parsed)
        changes = role is Role.SERVICE and first_word(statement.parsed) in _CHANGES
        if role is Role.ADMIN or statement.insert is not None or changes:
            return
        check_expansion(statement.parsed)
        statement.parsed = list(tokens(self._engine.parse(statement.text)))
        statement.text = render(statement.parsed)

    @staticmethod
    def _prepare(handle: Handle, exchange: Exchange, settings: dict[str, str]) -> None:
        if exchange.user.role.only_reads:
            apply_parameters(handle, exchange.request.parameters)
            handle.seal(settings)
            return
        apply_settings(handle, {**settings, **({"readonly": "2"} if exchange.reads_only else {})})
        apply_parameters(handle, exchange.request.parameters)

    def _open_session(
        self, request: Request, user: User, session_id: str, settings: dict[str, str], database: str
    ) -> tuple[Handle, Callable[[], None]]:
        session = self._enter(request, user, session_id)
        try:
            asked = database if "database" in request.interface else None
            applied = RequestSettings(session.handle, settings, asked)
            apply_parameters(session.handle, request.parameters)
        except StoreError:
            self._sessions.leave(session)
            raise
        return session.handle, partial(self._leave, session, applied, close=request.flag("close_session"))

    def _leave(self, session: Session, applied: RequestSettings, *, close: bool) -> None:
        try:
            applied.undo()
        except StoreError:
            self._sessions.end(session)
            raise
        if close:
            self._sessions.end(session)
        else:
            self._sessions.leave(session)

    def _enter(self, request: Request, user: User, session_id: str) -> Session:
        def make() -> Handle:
            handle = self._engine.handle(user.role)
            use_database(handle, rights.DATABASE)
            apply_settings(handle, self._engine.defaults(user.role))
            return handle

        timeout_s = session_timeout_s(request.interface.get("session_timeout"))
        return self._sessions.enter(
            user, session_id, timeout_s=timeout_s, must_exist=request.flag("session_check"), make=make
        )

    def _settings(self, exchange: Exchange) -> dict[str, str]:
        request, statement = exchange.request, exchange.statement
        whole = not exchange.result.streamed
        caps = self._caps(whole=whole)
        asked = {name: value for name, value in request.settings.items() if name != "readonly"}
        settings = check_settings(asked, exchange.user.role, caps=caps)
        if exchange.user.role.only_reads:
            settings |= check_clause(settings_clauses(statement.parsed), caps=caps)
        comment = settings.get("log_comment", "")
        settings["log_comment"] = f"{comment} {tag(request.query_id)}".strip()
        if "insert_deduplication_token" not in settings:
            # Without a token, a block that happens to equal an earlier one would be
            # dropped and still answered with success.
            settings.setdefault("deduplicate_insert", "disable")
        if statement.insert is not None and statement.insert.format.lower() == "values":
            settings["input_format_values_interpret_expressions"] = "0"
        if whole:
            settings.setdefault("max_result_bytes", str(self._limits.result_bytes))
        return settings

    def _caps(self, *, whole: bool) -> dict[str, float]:
        """An analyst's limits, which a request may lower."""
        caps: dict[str, float] = {
            "max_execution_time": self._limits.analyst_query_max_s,
            "max_memory_usage": self._limits.analyst_memory_bytes,
        }
        return caps | ({"max_result_bytes": self._limits.result_bytes} if whole else {})
