"""Masks texts without keeping its service's event loop from other work."""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from services.common.process import metrics
from services.common.process.child.child_process import ChildProcess
from services.common.process.child.on_demand import NotAnsweredError, OnDemandChild
from services.common.requests.masking.child import from_json
from services.common.requests.masking.sensitive_texts import MaskedTexts, MaskScope, mask_texts
from services.common.requests.shared_room import SharedRoom

_MODULE = "services.common.requests.masking.child"
_HERE_CHARS = 2000
"""Texts of a request up to which they are masked here: .1 to 2 ms."""
_WAITING_BYTES = 16 * 1024 * 1024
_SLICE_S = 0.003
"""Of masking here in one round of the loop; one request may take it over."""
_PATIENCE_S = 5.0
_JOB_S = 10.0


class NotMaskedError(Exception):
    """The texts could not be masked: there is no room, no time, or no process."""


def masking_child(patience_s: float = _PATIENCE_S) -> OnDemandChild:
    """The process for long texts, each of which waits for at most so long."""
    return OnDemandChild(lambda: ChildProcess.spawn(_MODULE), patience_s, _JOB_S)


@dataclass
class Masker:
    """Short texts are masked here, some milliseconds at a time between the loop's
    other work; long ones in a process that is started for the first of them.

    At most `waiting.size` bytes of text wait for it, a tenant's at most as much as is free
    beside them.
    """

    child: OnDemandChild = field(default_factory=masking_child)
    here_chars: int = _HERE_CHARS
    waiting: SharedRoom = field(default_factory=lambda: SharedRoom(_WAITING_BYTES))
    _spent_s: float = field(default=0.0, init=False)
    """On masking here, in the present round of the loop."""

    async def mask(self, texts: Sequence[str], scope: MaskScope, *, tenant: str) -> MaskedTexts:
        """The texts of one request of a tenant's, masked.

        Raises:
            NotMaskedError: they could not be, for now.
        """
        with metrics.MASKING_SECONDS.time():
            if sum(map(len, texts)) <= self.here_chars:
                return await self._mask_here(texts, scope)
            size = sum(len(text) * (1 if text.isascii() else 4) for text in texts)
            if not self.waiting.take(tenant, size):
                raise _not_masked("full")
            try:
                return await self._mask_beside(texts, scope, tenant)
            finally:
                self.waiting.give_back(tenant, size)

    async def _mask_here(self, texts: Sequence[str], scope: MaskScope) -> MaskedTexts:
        """At once, unless this round of the loop has had its share of it."""
        while self._spent_s > _SLICE_S:  # noqa: ASYNC110  a round of the loop has no event
            await asyncio.sleep(0)
        if not self._spent_s:
            asyncio.get_running_loop().call_soon(self._begin_round)
        began_s = time.perf_counter()
        try:
            return mask_texts(texts, scope)
        finally:
            self._spent_s += time.perf_counter() - began_s

    def _begin_round(self) -> None:
        self._spent_s = 0.0

    async def close(self) -> None:
        """Ends the process."""
        await self.child.close()

    async def _mask_beside(self, texts: Sequence[str], scope: MaskScope, tenant: str) -> MaskedTexts:
        try:
            return from_json(await self.child.ask({"texts": list(texts), "scope": scope}, tenant=tenant))
        except NotAnsweredError as error:
            raise _not_masked(error.why) from error


def _not_masked(why: str) -> NotMaskedError:
    metrics.MASKING_MISSED.labels(why).inc()
    return NotMaskedError(f"texts were not masked: {why}")
