"""The process of `child.py`, as the service that asks it sees it."""

import asyncio
import json
import os
import socket
import sys
from collections.abc import Sequence
from dataclasses import dataclass

from services.common.requests.masking.child import LENGTH_BYTES, MAX_FRAME_BYTES, from_json, pack
from services.common.requests.masking.sensitive_texts import Hidden, Inspected

_INHERITED = ("PATH", "HOME", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "TZ", "VIRTUAL_ENV", "SYSTEMROOT")
_MODULE = "services.common.requests.masking.child"


class ChildLostError(Exception):
    """The process ended, or says what it never would."""


@dataclass(slots=True, eq=False)
class ChildProcess:
    """A process and the socket that it is asked on; one job at a time."""

    process: asyncio.subprocess.Process
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    @classmethod
    async def start(cls) -> "ChildProcess":
        """Starts a process.

        Raises:
            ChildLostError: it does not start.
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
                raise ChildLostError(f"no process could be started: {error}") from error
        reader, writer = await asyncio.open_connection(sock=ours, limit=MAX_FRAME_BYTES)
        return cls(process, reader, writer)

    @property
    def is_alive(self) -> bool:
        """Whether it runs."""
        return self.process.returncode is None

    async def inspect(self, texts: Sequence[str], hidden: Hidden) -> Inspected:
        """What `inspect` gives, made there. Whoever cancels this must close the process:
        its answer would be taken for the next job's.

        Raises:
            ChildLostError: the process is no more.
        """
        try:
            self.writer.write(pack({"texts": list(texts), "hidden": hidden}))
            await self.writer.drain()
            size = int.from_bytes(await self.reader.readexactly(LENGTH_BYTES), "big")
            return from_json(json.loads(await self.reader.readexactly(size)))
        except (OSError, asyncio.IncompleteReadError, ValueError, TypeError) as error:
            raise ChildLostError(type(error).__name__) from error

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
