"""A worker's process, as the gateway sees it."""

import asyncio
from dataclasses import dataclass
from typing import Any, Protocol

from services.common.process.child.child_process import ChildLostError, ChildProcess

_START_S = 60.0
_MODULE = "services.gateway.admission.inspection.worker"


class Worker(Protocol):
    """Does one job at a time."""

    versions: tuple[str, str]

    async def do(self, message: dict[str, Any]) -> list[Any]:
        """What a job gives.

        Raises:
            ChildLostError: the worker is no more.
        """

    async def ended(self) -> None:
        """Returns when it is no more."""

    async def close(self) -> None:
        """Ends it."""


@dataclass(slots=True, eq=False)
class ProcessWorker(ChildProcess):
    """A process that reads prompts."""

    versions: tuple[str, str] = ("", "")

    @classmethod
    async def start(cls) -> "ProcessWorker":
        """Starts a process, and returns once it has read rules and model.

        Raises:
            ChildLostError: it does not start.
        """
        worker = await cls.spawn(_MODULE, OMP_NUM_THREADS="1")
        try:
            async with asyncio.timeout(_START_S):
                detector, rules = (await worker.read())["versions"]
        except (TimeoutError, ChildLostError, ValueError, KeyError) as error:
            await worker.close()
            raise ChildLostError(f"the process did not begin: {error!r}") from error
        except BaseException:
            await worker.close()
            raise
        worker.versions = (str(detector), str(rules))
        return worker

    async def do(self, message: dict[str, Any]) -> list[Any]:
        """See `Worker` and `ChildProcess.ask`."""
        try:
            return list((await self.ask(message))["read"])
        except (ValueError, KeyError) as error:
            raise ChildLostError(repr(error)) from error
