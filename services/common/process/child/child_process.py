"""A child process, as the service that asks it sees it."""

import asyncio
import json
import os
import socket
import sys
from dataclasses import dataclass
from typing import Any, Self

from services.common.process.child.frames import LENGTH_BYTES, MAX_FRAME_BYTES, pack

_INHERITED = ("PATH", "HOME", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "TZ", "VIRTUAL_ENV", "SYSTEMROOT")


class ChildLostError(Exception):
    """The process ended, or says what it never would."""


@dataclass(slots=True, eq=False)
class ChildProcess:
    """A process and the socket that it is asked on; one job at a time."""

    process: asyncio.subprocess.Process
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    @classmethod
    async def spawn(cls, module: str, **environment: str) -> Self:
        """Starts a module as a process, without this one's settings and secrets.

        Raises:
            ChildLostError: it does not start.
        """
        ours, theirs = socket.socketpair()
        with theirs:
            try:
                process = await asyncio.create_subprocess_exec(
                    sys.executable,
                    "-m",
                    module,
                    str(theirs.fileno()),
                    pass_fds=(theirs.fileno(),),
                    stdin=asyncio.subprocess.DEVNULL,
                    env=_environment() | environment,
                )
            except OSError as error:
                ours.close()
                raise ChildLostError(f"no process could be started: {error}") from error
        reader, writer = await asyncio.open_connection(sock=ours, limit=MAX_FRAME_BYTES)
        return cls(process, reader, writer)

    @property
    def is_alive(self) -> bool:
        """Whether it runs."""
        return self.process.returncode is None

    async def ask(self, job: Any) -> Any:
        """What a job gives. Whoever cancels this must close the process: its answer would
        be taken for the next job's.

        Raises:
            ChildLostError: the process is no more.
        """
        try:
            self.writer.write(pack(job))
            await self.writer.drain()
        except OSError as error:
            raise ChildLostError(repr(error)) from error
        return await self.read()

    async def read(self) -> Any:
        """The next that it says.

        Raises:
            ChildLostError: the process is no more, or says no JSON.
        """
        try:
            size = int.from_bytes(await self.reader.readexactly(LENGTH_BYTES), "big")
            if size > MAX_FRAME_BYTES:
                raise ChildLostError(f"an answer of {size} bytes was announced")
            return json.loads(await self.reader.readexactly(size))
        except (asyncio.IncompleteReadError, OSError) as error:
            raise ChildLostError("the process ended") from error
        except ValueError as error:
            raise ChildLostError("the process says what is no JSON") from error

    async def ended(self) -> None:
        """Returns when it is no more."""
        await self.process.wait()

    async def close(self) -> None:
        """Ends the process, whatever it is doing."""
        self.writer.close()
        if self.process.returncode is None:
            self.process.kill()
        await self.process.wait()


def _environment() -> dict[str, str]:
    """What a process needs to find its code: no setting, and so no secret."""
    kept = {name: os.environ[name] for name in _INHERITED if name in os.environ}
    path = os.pathsep.join([os.getcwd(), *(part for part in sys.path if part)])  # noqa: PTH109
    return kept | {"PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1"}
