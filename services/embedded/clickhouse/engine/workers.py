"""Worker threads for the engine's blocking calls, and how a call is ended when nobody
wants its result any more.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import structlog

from services.embedded.clickhouse.engine.chdb_engine import Engine
from services.embedded.clickhouse.errors import ClientGoneError, StoreError

T = TypeVar("T")
_log = structlog.get_logger(__name__)
_KILL_EVERY_S = 0.1
_KILL_FOR_S = 60.0


class Workers:
    """As many threads as queries may run at once, and one of its own for KILL."""

    def __init__(self, engine: Engine, threads: int) -> None:
        self._engine = engine
        self._queries = ThreadPoolExecutor(threads, "store-query")
        self._kills = ThreadPoolExecutor(1, "store-kill")

    async def run(
        self, work: Callable[[], T], query_id: str, *, gone: "asyncio.Task[None] | None" = None
    ) -> T:
        """Runs `work` in a thread.

        When the client goes (`gone` ends) or the task is cancelled, kills the query and
        waits for the thread.

        Raises:
            ClientGoneError: The client went before the work was done.
        """
        future = asyncio.get_running_loop().run_in_executor(self._queries, work)
        waiting: set[asyncio.Future[Any]] = {future, gone} if gone else {future}
        try:
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            await self._end(future, query_id)
            raise
        if not future.done():
            await self._end(future, query_id)
            raise ClientGoneError
        return future.result()

    async def _end(self, future: "asyncio.Future[T]", query_id: str) -> None:
        loop = asyncio.get_running_loop()
        give_up = loop.time() + _KILL_FOR_S
        while not future.done() and loop.time() < give_up:
            try:
                await loop.run_in_executor(self._kills, self._engine.kill, query_id)
            except StoreError as error:
                _log.warning("kill_failed", query_id=query_id, code=error.code)
            await asyncio.wait({future}, timeout=_KILL_EVERY_S)
        if not future.done():
            _log.error("query_does_not_end", query_id=query_id, waited_s=_KILL_FOR_S)
        elif not future.cancelled():
            future.exception()  # its failure is our doing, and nobody's to hear

    def close(self) -> None:
        """Waits for the threads."""
        self._queries.shutdown()
        self._kills.shutdown()
