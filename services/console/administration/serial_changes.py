"""One change at a time from this console, bounded: writers fence each other, so two at
once would only make each other begin again.
"""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import structlog

from schemas.control import AnyEntry
from schemas.errors import ErrorCode
from schemas.events.audit import Actor
from services.common.control.changes import Change
from services.common.control.reader import ControlReader
from services.common.errors import BusUnavailableError
from services.common.http.problems import Problem, ProblemError, retry_after, unavailable

log = structlog.get_logger(__name__)

Write = Callable[[Actor, Change], Awaitable[AnyEntry | None]]
"""Makes a change in somebody's name, as `ControlWriter.apply` does."""

_POLL_S = 0.01
_MOST_POLLS = 300


@dataclass
class SerialChanges:
    """Makes changes in turn; of those that wait a tenant has a share.

    After a change this console's own view holds it, so that who made it reads it.
    """

    write: Write
    reader: ControlReader
    timeout_s: float = 20.0
    most: int = 32
    most_of_a_tenant: int = 8
    _turn: asyncio.Lock = field(default_factory=asyncio.Lock, init=False)
    _waiting: Counter[str] = field(default_factory=Counter, init=False)

    async def apply(
        self, actor: Actor, tenant: str, place: tuple[str, str], change: Change
    ) -> AnyEntry | None:
        """Makes a change of the entry at `place` (kind and id) for a caller of `tenant`,
        and returns the entry, None where it was removed for good.

        Raises:
            ChangeRefusedError, ProblemError: it may not be made; nothing was written.
            ProblemError: 429 or 503, too many wait; 503, Kafka did not confirm it.
        """
        if self._waiting[tenant] >= self.most_of_a_tenant:
            raise _too_many(429, ErrorCode.RATE_LIMIT_EXCEEDED, "Your tenant has")
        if self._waiting.total() >= self.most:
            raise _too_many(503, ErrorCode.OVERLOADED, "There are")
        self._waiting[tenant] += 1
        try:
            async with asyncio.timeout(self.timeout_s):
                async with self._turn:
                    entry = await self.write(actor, change)
                await self._seen(place, entry)
                return entry
        except (TimeoutError, BusUnavailableError) as error:
            log.warning("control_change_unconfirmed", kind=place[0], error=repr(error))
            raise unavailable(
                "Kafka did not confirm the change. It may have been made all the same: read it before you "
                "ask again.",
                code=ErrorCode.BUS_UNAVAILABLE,
            ) from error
        finally:
            self._waiting[tenant] -= 1
            self._waiting += Counter()  # forgets tenants of whom none waits

    async def _seen(self, place: tuple[str, str], entry: AnyEntry | None) -> None:
        """Waits until this console reads what was written; not for ever: it is made."""
        for _ in range(_MOST_POLLS):
            if _holds(self.reader.state.get(*place), entry):
                return
            await asyncio.sleep(_POLL_S)
        log.warning("control_change_not_seen_yet", kind=place[0])


def _holds(known: AnyEntry | None, entry: AnyEntry | None) -> bool:
    if entry is None:
        return known is None or not known.version  # the default tenant is there without having been made
    return known is not None and known.version >= entry.version


def _too_many(status: int, code: ErrorCode, whose: str) -> ProblemError:
    return ProblemError(
        Problem(
            status,
            code,
            f"{whose} too many changes under way. Send this one again in a moment.",
            headers=retry_after(2),
        )
    )
