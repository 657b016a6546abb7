"""Servers over `services.common.http.protocol`."""

import asyncio
import contextlib
from typing import Any

import uvicorn

from services.common.http.protocol import HttpConfig, HttpProtocol

_TICKS_A_CHECK = 10
"""uvicorn ticks ten times a second."""


class HttpServer(uvicorn.Server):
    """A uvicorn server that looks after its connections' limits."""

    def __init__(self, config: HttpConfig) -> None:
        super().__init__(config)

    async def on_tick(self, counter: int) -> bool:
        """Looks after every connection once a second."""
        if counter % _TICKS_A_CHECK == 0:
            now = asyncio.get_running_loop().time()
            for connection in list(self.server_state.connections):
                if isinstance(connection, HttpProtocol):
                    connection.check(now)
        return await super().on_tick(counter)


class EmbeddedServer(HttpServer):
    """A server as a part of a service: signals stay the runner's, start and stop are
    awaited.
    """

    _task: asyncio.Task[None] | None = None

    @contextlib.contextmanager
    def capture_signals(self) -> Any:
        """Leaves signals alone."""
        yield

    @property
    def port(self) -> int:
        """Where it listens, once started."""
        return int(self.servers[0].sockets[0].getsockname()[1])

    async def start(self, timeout_s: float = 10.0) -> None:
        """Listens, or raises what kept it from listening.

        Raises:
            OSError: the address cannot be bound.
        """
        self._task = asyncio.create_task(self._serve_quietly())
        async with asyncio.timeout(timeout_s):
            while not self.started:
                if self._task.done():
                    await self._task
                    raise OSError(
                        f"cannot listen on {self.config.host}:{self.config.port}; is the port taken?"
                    )
                await asyncio.sleep(0.01)

    async def close(self) -> None:
        """Stops, letting running responses end within the configured time."""
        self.should_exit = True
        if self._task is not None:
            await self._task

    async def _serve_quietly(self) -> None:
        with contextlib.suppress(SystemExit):  # uvicorn's way to say that it cannot bind
            await self.serve()
