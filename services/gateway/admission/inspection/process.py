"""A worker's process, as the gateway sees it."""

import asyncio
import json
import os
import socket
import sys
from dataclasses import dataclass
from typing import Any, Protocol

from services.gateway.admission.inspection.worker import LENGTH_BYTES, MAX_FRAME_BYTES, pack

_START_S = 60.0
_INHERITED = ("PATH", "HOME", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "TZ", "VIRTUAL_ENV", "SYSTEMROOT")
_MODULE = "services.gateway.admission.inspection.worker"


class WorkerLostError(Exception):
    """The process ended, or says what it never would."""


class Worker(Protocol):
    """Does one job at a time."""

    versions: tuple[str, str]

    async def do(self, message: dict[str, Any]) -> list[Any]:
        """What a job gives.

        Raises:
            WorkerLostError: the worker is no more.
        """

    async def ended(self) -> None:
        """Returns when it is no more."""

    async def close(self) -> None:
        """Ends it."""


@dataclass(slots=True, eq=False)
class ProcessWorker:
    """A process and the socket that it is asked on."""

    process: asyncio.subprocess.Process
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    versions: tuple[str, str] = ("", "")

    @classmethod
    async def start(cls) -> "ProcessWorker":
        """Starts a process, and returns once it has read rules and model.

        Raises:
            WorkerLostError: it does not start.
        """
        ours, theirs = socket.socketpair()
        with theirs:
            try:
                process = await asyncio.create_subprocess_exec(
                    sys.executable,
                    "-m",
                    _MODULE,
                    str(theirs.fileno()),
                    pass_fds=(theirs.fileno(),),
                    stdin=asyncio.subprocess.DEVNULL,
                    env=_environment(),
                )
            except OSError as error:
                ours.close()
                raise WorkerLostError(f"no process could be started: {error}") from error
        reader, writer = await asyncio.open_connection(sock=ours, limit=MAX_FRAME_BYTES)
        worker = cls(process, reader, writer)
        try:
            async with asyncio.timeout(_START_S):
                detector, rules = (await worker._read())["versions"]
        except (TimeoutError, WorkerLostError, ValueError, KeyError) as error:
            await worker.close()
            raise WorkerLostError(f"the process did not begin: {error!r}") from error
        except BaseException:
            await worker.close()
            raise
        worker.versions = (str(detector), str(rules))
        return worker

    async def do(self, message: dict[str, Any]) -> list[Any]:
        """See `Worker`. Whoever cancels this must close the worker: its answer would be
        taken for the next job's.
        """
        try:
            self.writer.write(pack(message))
            await self.writer.drain()
            return list((await self._read())["read"])
        except (OSError, ValueError, KeyError) as error:
            raise WorkerLostError(repr(error)) from error

    async def ended(self) -> None:
        """See `Worker`."""
        await self.process.wait()

    async def close(self) -> None:
        """Ends the process, whatever it is doing."""
        self.writer.close()
        if self.process.returncode is None:
            self.process.kill()
        await self.process.wait()

    async def _read(self) -> dict[str, Any]:
        try:
            size = int.from_bytes(await self.reader.readexactly(LENGTH_BYTES), "big")
            if size > MAX_FRAME_BYTES:
                raise WorkerLostError(f"an answer of {size} bytes was announced")
            answer: dict[str, Any] = json.loads(await self.reader.readexactly(size))
        except (asyncio.IncompleteReadError, OSError) as error:
            raise WorkerLostError("the process ended") from error
        return answer


def _environment() -> dict[str, str]:
    """What a process needs to find its code: no setting, and so no secret."""
    kept = {name: os.environ[name] for name in _INHERITED if name in os.environ}
    path = os.pathsep.join([os.getcwd(), *(part for part in sys.path if part)])  # noqa: PTH109
    return kept | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"}
