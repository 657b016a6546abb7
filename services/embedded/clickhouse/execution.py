"""Running one statement: opening a handle for it, and moving rows in or out as they come."""

import asyncio
import contextlib
import tempfile
from collections.abc import AsyncIterator, Callable, Generator
from functools import partial

from services.embedded.clickhouse.engine.chdb_engine import Engine, EngineLimits, Handle, cut
from services.embedded.clickhouse.engine.workers import Workers
from services.embedded.clickhouse.errors import ClientGoneError, StoreError
from services.embedded.clickhouse.exchange import Exchange, Result
from services.embedded.clickhouse.handle_factory import HandleFactory
from services.embedded.clickhouse.http.native import for_protocol
from services.embedded.clickhouse.http.request import Body
from services.embedded.clickhouse.http.response import Response
from services.embedded.clickhouse.sql.inserts import InsertHead, first_word

_PIECE = 1 << 20

Blocks = Generator[bytes, None, None]


class Execution:
    """Runs the statements of one store."""

    def __init__(self, engine: Engine, workers: Workers, limits: EngineLimits) -> None:
        self._engine = engine
        self._workers = workers
        self._handles = HandleFactory(engine, limits)

    async def run(self, exchange: Exchange) -> None:
        """Checks, runs and answers one statement.

        Raises:
            StoreError: It is refused, or it fails.
            ClientGoneError: The client went; the query has been killed.
        """
        async with self._handle(exchange) as handle:
            exchange.statement.progress = handle.progress
            head = exchange.statement.insert
            try:
                await (self._insert(exchange, handle, head) if head else self._query(exchange, handle))
            except StoreError:
                if first_word(exchange.statement.parsed) == "insert":
                    await self._workers.run(self._engine.end_where_torn, exchange.request.query_id)
                raise
        # The session is free again before the client can have seen the end and come
        # back.
        await exchange.response.finish()

    def end_sessions(self) -> None:
        """Closes the handles that sessions hold."""
        self._handles.end_sessions()

    @contextlib.asynccontextmanager
    async def _handle(self, exchange: Exchange) -> AsyncIterator[Handle]:
        query_id = exchange.request.query_id
        handle, close = await self._workers.run(partial(self._handles.open, exchange), query_id)
        try:
            yield handle
        finally:
            await self._workers.run(close, query_id)

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
        request, sql, result = exchange.request, exchange.statement.text, exchange.result
        transform = for_protocol(request.protocol_version) if result.format == "Native" else bytes
        async with _departure(exchange.body) as gone:
            if result.streamed and result.format is not None:
                blocks = handle.stream(sql, result.format, transform)
            else:
                work = partial(_query_whole, handle, sql, result.format or "TabSeparated", transform)
                blocks = await self._workers.run(work, request.query_id, gone=gone)
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


def _query_whole(handle: Handle, sql: str, output_format: str, transform: Callable[[bytes], bytes]) -> Blocks:
    blocks = handle.query(sql, output_format)
    return blocks if transform is bytes else cut(transform(b"".join(blocks)))


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
