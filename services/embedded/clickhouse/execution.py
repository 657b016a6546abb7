"""Running one statement: reading it off the body, opening a handle for it, and moving
rows in or out as they come.
"""

import asyncio
import contextlib
import tempfile
from collections.abc import AsyncIterator, Callable, Generator
from dataclasses import dataclass, field
from functools import partial

from services.embedded.clickhouse import rights, vocabulary
from services.embedded.clickhouse.engine import (
    Engine,
    Handle,
    Progress,
    apply_parameters,
    apply_settings,
    tag,
    use_database,
)
from services.embedded.clickhouse.errors import ClientGoneError, StoreError
from services.embedded.clickhouse.formats import is_streamed
from services.embedded.clickhouse.request import Body, Request, too_long
from services.embedded.clickhouse.response import Response
from services.embedded.clickhouse.sessions import Loan, Session, Sessions, session_timeout_s
from services.embedded.clickhouse.statements import (
    InsertHead,
    Token,
    first_word,
    output_format,
    read_head,
    tokens,
)
from services.embedded.clickhouse.users import Role, User
from services.embedded.clickhouse.workers import Workers

_WITH_RESULT = vocabulary.READS | {"check", "kill", "optimize"}
_STREAMING = {"select", "with", "from"}
_PIECE = 1 << 20

Blocks = Generator[bytes, None, None]


@dataclass(slots=True)
class Statement:
    """What came: the SQL (of an INSERT with data: the part before the data), where data
    begins, and what it did so far.
    """

    sql: bytes = b""
    insert: InsertHead | None = None
    first_data: bytes = b""
    progress: Progress = field(default_factory=Progress)
    parsed: list[Token] = field(default_factory=list)

    @property
    def text(self) -> str:
        """The SQL as the engine takes it."""
        return self.sql.decode("utf-8", "replace")


@dataclass(frozen=True, slots=True)
class Result:
    """How a result leaves: its format, None when there is none, and whether as it is
    computed.
    """

    format: str | None
    streamed: bool


@dataclass(frozen=True, slots=True)
class Exchange:
    """One request under way, and whose it is."""

    request: Request
    body: Body
    response: Response
    user: User
    statement: Statement


async def read_statement(request: Request, body: Body, limit: int) -> Statement:
    """Takes the statement off the body, and of an INSERT's data not more than came with
    it.

    VALUES that fit the limit are part of the statement: then they may hold expressions,
    which the rights check has seen.

    Raises:
        StoreError: The statement is longer than `limit` bytes.
    """
    if request.is_form():
        request.read_form(await body.whole(limit))
    buffer = bytearray(request.statement())
    complete = False
    while True:
        head = read_head(bytes(buffer[:limit]), complete=complete)
        with_data = isinstance(head, InsertHead) and (head.format.lower() != "values" or len(buffer) > limit)
        if isinstance(head, InsertHead) and with_data:
            return Statement(bytes(buffer[: head.data_at]), head, bytes(buffer[head.data_at :]))
        if complete:
            return Statement(bytes(buffer))
        if len(buffer) > limit:
            raise too_long(limit)
        piece = await body.next()
        complete = piece is None
        buffer += piece or b""


class Execution:
    """Runs the statements of one store."""

    def __init__(
        self, engine: Engine, workers: Workers, *, analyst_query_max_s: float, result_bytes: int
    ) -> None:
        self._engine = engine
        self._workers = workers
        self._sessions = Sessions()
        self._analyst_query_max_s = analyst_query_max_s
        self._result_bytes = result_bytes

    async def run(self, exchange: Exchange) -> None:
        """Checks, runs and answers one statement.

        Raises:
            StoreError: It is refused, or it fails.
            ClientGoneError: The client went; the query has been killed.
        """
        async with self._handle(exchange) as handle:
            exchange.statement.progress = handle.progress
            head = exchange.statement.insert
            await (self._insert(exchange, handle, head) if head else self._query(exchange, handle))
        # The session is free again before the client can have seen the end and come
        # back.
        await exchange.response.finish()

    def end_sessions(self) -> None:
        """Closes the handles that sessions hold."""
        self._sessions.end_all()

    @contextlib.asynccontextmanager
    async def _handle(self, exchange: Exchange) -> AsyncIterator[Handle]:
        query_id = exchange.request.query_id
        handle, close = await self._workers.run(partial(self._open, exchange), query_id)
        try:
            yield handle
        finally:
            await self._workers.run(close, query_id)

    def _open(self, exchange: Exchange) -> tuple[Handle, Callable[[], None]]:
        request, user, statement = exchange.request, exchange.user, exchange.statement
        statement.parsed = list(tokens(statement.sql))
        rights.check_statement(
            statement.parsed, user.role, parameters=request.parameters, reading_only=_is_reading_only(request)
        )
        settings = self._settings(exchange)
        database = rights.check_database(request.interface.get("database", ""), user.role)
        # An analyst's session could hold nothing (no SET, no temporary tables), and a
        # read-only handle cannot be given settings twice: it is not kept.
        session_id = request.interface.get("session_id")
        if session_id and user.role is not Role.ANALYST:
            return self._open_session(request, user, session_id, settings, database)
        handle = self._engine.handle(user.role)
        try:
            use_database(handle, database)
            read_only = {"readonly": "2"} if user.role is Role.ANALYST or _is_reading_only(request) else {}
            apply_settings(handle, {**self._engine.defaults(user.role), **settings, **read_only})
            apply_parameters(handle, request.parameters)
        except StoreError:
            handle.close()
            raise
        return handle, handle.close

    def _open_session(
        self, request: Request, user: User, session_id: str, settings: dict[str, str], database: str
    ) -> tuple[Handle, Callable[[], None]]:
        session = self._enter(request, user, session_id)
        try:
            loan = Loan(session.handle, settings, database if "database" in request.interface else None)
            apply_parameters(session.handle, request.parameters)
        except StoreError:
            self._sessions.leave(session)
            raise
        return session.handle, partial(self._leave, session, loan, close=request.flag("close_session"))

    def _leave(self, session: Session, loan: Loan, *, close: bool) -> None:
        try:
            loan.give_back()
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
        asked = {name: value for name, value in request.settings.items() if name != "readonly"}
        settings = rights.check_settings(asked, exchange.user.role, max_execution_s=self._analyst_query_max_s)
        comment = settings.get("log_comment", "")
        settings["log_comment"] = f"{comment} {tag(request.query_id)}".strip()
        if "insert_deduplication_token" not in settings:
            # Without a token, a block that happens to equal an earlier one would be
            # dropped and still answered with success.
            settings.setdefault("deduplicate_insert", "disable")
        if statement.insert is not None and statement.insert.format.lower() == "values":
            settings["input_format_values_interpret_expressions"] = "0"
        if not _result(request, statement).streamed:
            settings.setdefault("max_result_bytes", str(self._result_bytes))
        return settings

    async def _insert(self, exchange: Exchange, handle: Handle, head: InsertHead) -> None:
        query_id = exchange.request.query_id
        insert = await self._workers.run(partial(handle.insert, head.statement, head.format), query_id)
        try:
            if exchange.statement.first_data:
                await self._workers.run(partial(insert.append, exchange.statement.first_data), query_id)
            while (piece := await exchange.body.next()) is not None:
                await self._workers.run(partial(insert.append, piece), query_id)
            await self._workers.run(insert.finish, query_id)
        except BaseException:
            with contextlib.suppress(StoreError):
                await self._workers.run(insert.cancel, query_id)
            raise
        await exchange.response.start(output_format=None, summary=handle.progress.summary())

    async def _query(self, exchange: Exchange, handle: Handle) -> None:
        request, sql = exchange.request, exchange.statement.text
        result = _result(request, exchange.statement)
        async with _departure(exchange.body) as gone:
            if result.streamed and result.format is not None:
                blocks = handle.stream(sql, result.format)
            else:
                blocks = await self._workers.run(
                    partial(handle.query, sql, result.format or "TabSeparated"), request.query_id, gone=gone
                )
            if result.streamed and request.flag("wait_end_of_query"):
                blocks = await self._workers.run(partial(_spool, blocks), request.query_id, gone=gone)
            try:
                await self._send(exchange, handle, blocks, result, gone)
            finally:
                await self._workers.run(blocks.close, request.query_id)

    async def _send(
        self, exchange: Exchange, handle: Handle, blocks: Blocks, result: Result, gone: "asyncio.Task[None]"
    ) -> None:
        response, query_id = exchange.response, exchange.request.query_id
        piece = await self._workers.run(partial(_next_encoded, blocks, response), query_id, gone=gone)
        await response.start(output_format=result.format, summary=handle.progress.summary())
        while piece is not None:
            await response.write(piece)
            if gone.done():
                raise ClientGoneError
            piece = await self._workers.run(partial(_next_encoded, blocks, response), query_id, gone=gone)


def _is_reading_only(request: Request) -> bool:
    return request.method != "POST" or request.settings.get("readonly", "0") not in ("", "0")


def _result(request: Request, statement: Statement) -> Result:
    word = first_word(statement.parsed)
    if statement.insert is not None or word not in _WITH_RESULT:
        return Result(None, streamed=False)
    name = output_format(statement.parsed) or request.interface.get("default_format") or "TabSeparated"
    plain = (
        not any(token.is_word("insert", "totals") for token in statement.parsed)
        and request.settings.get("extremes", "0") == "0"
    )
    return Result(name, streamed=word in _STREAMING and is_streamed(name) and plain)


def _next_encoded(blocks: Blocks, response: Response) -> bytes | None:
    block = next(blocks, None)
    return None if block is None else response.encode(block)


def _spool(blocks: Blocks) -> Blocks:
    """Takes all blocks, so that a failure is known before the first byte leaves; beyond
    8 MiB they wait on disk.
    """
    spool = tempfile.SpooledTemporaryFile(max_size=8 << 20)  # noqa: SIM115 - the generator below closes it
    try:
        for block in blocks:
            spool.write(block)
        spool.seek(0)
    except BaseException:
        spool.close()
        raise
    return _unspool(spool)


def _unspool(spool: "tempfile.SpooledTemporaryFile[bytes]") -> Blocks:
    with spool:
        while piece := spool.read(_PIECE):
            yield piece


@contextlib.asynccontextmanager
async def _departure(body: Body) -> AsyncIterator["asyncio.Task[None]"]:
    """A task that ends when the client hangs up; the body must have been read."""
    failure: StoreError | ClientGoneError | None = None
    async with asyncio.TaskGroup() as group:
        gone = group.create_task(body.wait_for_departure())
        try:
            yield gone
        except (StoreError, ClientGoneError) as error:
            failure = error  # raised below, so that the group does not wrap it
        finally:
            gone.cancel()
    if failure is not None:
        raise failure
