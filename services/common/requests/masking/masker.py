"""Inspects and masks texts without keeping its service's event loop from other work."""

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import structlog

from services.common.process import metrics
from services.common.process.child.child_process import ChildLostError
from services.common.requests.masking.child_process import MaskingProcess
from services.common.requests.masking.sensitive_texts import Hidden, Inspected, inspect
from services.common.requests.masking.turns import Turns

log = structlog.get_logger(__name__)

_HERE_CHARS = 2000
"""Texts of a request up to which they are inspected here: .1 to 2 ms."""
_WAITING_BYTES = 16 * 1024 * 1024
_SHARE = 2
"""A tenant may fill a half of the room: beside any flood there is some for others."""
_SLICE_S = 0.003
"""Of inspecting here in one round of the loop; one request may take it over."""
_PATIENCE_S = 5.0
_JOB_S = 10.0


class NotMaskedError(Exception):
    """The texts could not be inspected: there is no room, no time, or no process."""


class Inspects(Protocol):
    """`MaskingProcess`, as far as it is asked here."""

    @property
    def is_alive(self) -> bool:
        """Whether it runs."""

    async def inspect(self, texts: Sequence[str], hidden: Hidden) -> Inspected:
        """What `inspect` gives."""

    async def close(self) -> None:
        """Ends it."""


@dataclass
class Masker:
    """Short texts are inspected here, some milliseconds at a time between the loop's
    other work; long ones in a process that is started for the first of them.

    At most `waiting_bytes` of text wait for it, a tenant's at most a half, each for at
    most `patience_s`, tenants in turn. A request that takes longer than `job_s` there
    costs the process its life.
    """

    start_child: Callable[[], Awaitable[Inspects]] = MaskingProcess.start
    here_chars: int = _HERE_CHARS
    waiting_bytes: int = _WAITING_BYTES
    patience_s: float = _PATIENCE_S
    job_s: float = _JOB_S
    _child: Inspects | None = field(default=None, init=False)
    _turns: Turns = field(default_factory=Turns, init=False)
    _spent_s: float = field(default=0.0, init=False)
    """On inspecting here, in the present round of the loop."""
    _waiting: "Counter[str]" = field(default_factory=Counter, init=False)
    """Bytes, by tenant."""

    async def inspect(self, texts: Sequence[str], hidden: Hidden, *, tenant: str) -> Inspected:
        """The texts of one request of a tenant's, masked.

        Raises:
            NotMaskedError: they could not be, for now.
        """
        with metrics.MASKING_SECONDS.time():
            if sum(map(len, texts)) <= self.here_chars:
                return await self._inspect_here(texts, hidden)
            size = sum(len(text) * (1 if text.isascii() else 4) for text in texts)
            if (
                self._waiting.total() + size > self.waiting_bytes
                or (self._waiting[tenant] + size) * _SHARE > self.waiting_bytes
            ):
                raise _not_masked("full")
            self._waiting[tenant] += size
            try:
                return await self._in_turn(texts, hidden, tenant)
            finally:
                self._waiting[tenant] -= size
                self._waiting += Counter()  # forgets tenants that have nothing there

    async def _inspect_here(self, texts: Sequence[str], hidden: Hidden) -> Inspected:
        """At once, unless this round of the loop has had its share of it."""
        while self._spent_s > _SLICE_S:  # noqa: ASYNC110  a round of the loop has no event
            await asyncio.sleep(0)
        if not self._spent_s:
            asyncio.get_running_loop().call_soon(self._begin_round)
        began_s = time.perf_counter()
        try:
            return inspect(texts, hidden)
        finally:
            self._spent_s += time.perf_counter() - began_s

    def _begin_round(self) -> None:
        self._spent_s = 0.0

    async def close(self) -> None:
        """Ends the process."""
        child, self._child = self._child, None
        if child is not None:
            await child.close()

    async def _in_turn(self, texts: Sequence[str], hidden: Hidden, tenant: str) -> Inspected:
        try:
            async with asyncio.timeout(self.patience_s):
                await self._turns.acquire(tenant)
        except TimeoutError as error:
            raise _not_masked("busy") from error
        try:
            return await self._ask(texts, hidden)
        finally:
            self._turns.release()

    async def _ask(self, texts: Sequence[str], hidden: Hidden) -> Inspected:
        try:
            async with asyncio.timeout(self.job_s):
                if self._child is not None and not self._child.is_alive:
                    await self.close()
                if self._child is None:
                    self._child = await self.start_child()
                return await self._child.inspect(texts, hidden)
        except (TimeoutError, ChildLostError) as error:
            await self.close()
            log.warning("masking_process_lost", error=repr(error))
            raise _not_masked("timeout" if isinstance(error, TimeoutError) else "lost") from error
        except BaseException:  # its answer would be taken for the next request's
            await self.close()
            raise


def _not_masked(why: str) -> NotMaskedError:
    metrics.MASKING_MISSED.labels(why).inc()
    return NotMaskedError(f"texts were not masked: {why}")
