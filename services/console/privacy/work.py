"""Does erasures: one place after another, each as often as it takes, again after any
death, from the record on the bus.
"""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial

import structlog

from schemas.events.audit import ErasedPlace, SubjectErasure
from services.common.clock import Clock
from services.common.control.errors import ChangeRefusedError
from services.common.errors import (
    BusUnavailableError,
    StoreRejectedError,
    StoreUnavailableError,
    TocsinError,
)
from services.common.process import metrics
from services.common.retry import Pauses
from services.console.privacy.control import ControlErasure, entries_of
from services.console.privacy.elsewhere.langfuse import (
    LangfuseAddressRefusedError,
    LangfuseAwayError,
    LangfuseNotUnderstoodError,
    LangfuseRefusesKeysError,
)
from services.console.privacy.elsewhere.security_memory import SecurityRoleBehindError
from services.console.privacy.log import ErasureLog
from services.console.privacy.stored.rows import Counted, Rows, Step, Work
from services.console.privacy.stored.special_tables import special_steps
from services.console.privacy.stored.tables import PERSONAL
from services.console.privacy.subject import Identities, Subject, keys_of
from services.console.privacy.topics import copies

log = structlog.get_logger(__name__)

ENTRIES = "control state"
_FAILED: Mapping[type, str] = {
    StoreUnavailableError: "The store (ClickHouse) was away, or too busy to finish a statement in time.",
    StoreRejectedError: "The store (ClickHouse) refused a statement; the console's log says which.",
    SecurityRoleBehindError: "The analyzer's security role had not read in time whom it is to forget.",
    LangfuseAwayError: "Langfuse did not answer, or answered that it could not at that time.",
    LangfuseRefusesKeysError: "Langfuse refused the keys (TOCSIN_LANGFUSE_PUBLIC_KEY and ..._SECRET_KEY).",
    LangfuseAddressRefusedError: "Langfuse's address is not public, and TOCSIN_EGRESS_ALLOWED does not name "
    "its network.",
    LangfuseNotUnderstoodError: "Langfuse answered something else than its documented API does.",
    ChangeRefusedError: "An entry of the control state was changed by somebody else at the same moment.",
    Exception: "It failed in a way that is not foreseen; the console's log says how.",
}
"""What a receipt says by the kind of an error."""


@dataclass
class ErasureWorker:
    """Works at what is due. Several consoles may: who has heard of another's progress
    within `patience_s` leaves an erasure alone, and doing a step twice does no harm.

    `settled` waits until the store has what the bus had: what comes later is erased in
    the next round. `elsewhere` are places outside the store, by what a receipt calls
    them.
    """

    log: ErasureLog
    identities: Identities
    control: ControlErasure
    rows: Rows
    clock: Clock
    name: str
    settled: Callable[[], Awaitable[None]]
    elsewhere: Mapping[str, Step] = field(default_factory=dict)
    patience_s: float = 30.0
    pauses: Pauses = field(default_factory=lambda: Pauses(1.0, 60.0))
    jitter: Callable[[], float] = random.random
    begun_here: set[str] = field(default_factory=set)
    """Erasures that were asked for at this console: it need wait for nobody."""
    _unreadable: set[str] = field(default_factory=set, init=False)

    async def run(self) -> None:
        """Works, until cancelled."""
        while True:
            self.log.changed.clear()
            for erasure_id in [one.erasure_id for one in self._due()]:
                await self._attempt(erasure_id)
            try:
                await asyncio.wait_for(self.log.changed.wait(), 1.0)
            except TimeoutError:
                continue

    def _due(self) -> list[SubjectErasure]:
        now = self.clock()
        waiting = [one for one in self.log.known.values() if one.next_at is not None and one.next_at <= now]
        return sorted((one for one in waiting if self._is_mine(one)), key=lambda one: one.requested_at)

    def _is_mine(self, erasure: SubjectErasure) -> bool:
        if erasure.erasure_id in self._unreadable:
            return False
        if erasure.erasure_id in self.begun_here:
            return True
        silent_s = time.monotonic() - self.log.heard_s.get(erasure.erasure_id, 0.0)
        patience_s = self.patience_s if erasure.places else min(self.patience_s, 2.0)
        return silent_s >= patience_s * (1 + self.jitter())

    async def _attempt(self, erasure_id: str) -> None:
        """A round, as far as it goes now; what is away is tried again when it is due."""
        failed = 0
        self.begun_here.add(erasure_id)
        while True:
            try:
                if await self._round(erasure_id):
                    break
            except TocsinError as error:
                log.warning("erasure_waits", erasure=erasure_id, error=type(error).__name__)
            except Exception:
                log.exception("erasure_failed", erasure=erasure_id)
            failed += 1
            metrics.ERASURES_WAITING.inc()
            if [one for one in self._due() if one.erasure_id != erasure_id] and failed > 3:
                return  # others are due, and what this one waits for may not be theirs
            await asyncio.sleep(self.pauses.after(failed))
        self.begun_here.discard(erasure_id)

    async def _round(self, erasure_id: str) -> bool:
        """One pass over what is left of a round; whether all of it is done."""
        erasure = self.log.known[erasure_id]
        subject = self.identities.opened(erasure)
        if subject is None:
            log.error("erasure_unreadable", erasure=erasure_id, hint="sealed with another TOCSIN_KEY_PEPPER")
            self._unreadable.add(erasure_id)
            return True
        subject = subject.with_keys(keys_of(self.control.control.state, subject.tenant, subject.user))
        erasure = await self.log.publish(
            erasure.model_copy(update={"sealed": self.identities.sealed(erasure_id, subject)})
        )
        work = Work(f"{erasure_id}/{self.name}", subject, min(erasure.cut_at, self.clock()))
        done = await self._on_bus(erasure_id, subject, work)
        await self.settled()
        done &= await self._in_store(erasure_id, work)
        if done:
            await self.rows.forget(erasure_id)  # what processes that were killed put there
            await self._conclude(erasure_id)
        return done

    async def _on_bus(self, erasure_id: str, subject: Subject, work: Work) -> bool:
        async def count(_: Work) -> int:
            return len(entries_of(self.control.control.state, subject))

        async def nothing(_: Work) -> int:
            return 0

        entries = Step(count, lambda _: self.control.erase_entries(subject))
        keyed = Step(nothing, lambda _: self.control.erase_keyed(subject))
        done = await self._step(erasure_id, ENTRIES, entries, work)
        done &= await self._step(erasure_id, "topics by key", keyed, work)
        for place, step in self.elsewhere.items():
            done &= await self._step(erasure_id, place, step, work)
        return done

    async def _in_store(self, erasure_id: str, work: Work) -> bool:
        done = True
        async with self.rows.about(work):
            for rows in PERSONAL:
                step = Step(partial(self.rows.count_of, rows), partial(self.rows.erase, rows))
                done &= await self._step(erasure_id, rows.place, step, work)
            for place, step in special_steps(self.rows).items():
                done &= await self._step(erasure_id, place, step, work)
        return done

    async def _step(self, erasure_id: str, place: str, step: Step, work: Work) -> bool:
        """One place; whether it is done."""
        erasure = self.log.known[erasure_id]
        known = next((one for one in erasure.places if one.place == place), ErasedPlace(place=place))
        if known.rounds > erasure.rounds:
            return True
        try:
            pending = max(known.pending, await step.count(work))
            if pending:
                known = known.model_copy(update={"pending": pending})
                await self._tell(erasure_id, known)
            counted = await step.erase(work)
        except BusUnavailableError:
            raise
        except Exception as error:
            log.warning(
                "erasure_step_waits",
                erasure=erasure_id,
                place=place,
                error=type(error).__name__,
                exc_info=not isinstance(error, TocsinError),
            )
            await self._tell(erasure_id, known.model_copy(update={"failed": what_failed(error)}))
            return False
        await self._tell(erasure_id, _after(known, counted, erasure.rounds + 1, repeats=step.repeats))
        metrics.ERASED.labels(place).inc(counted.erased)
        return True

    async def _tell(self, erasure_id: str, place: ErasedPlace) -> None:
        erasure = self.log.known[erasure_id]
        others = tuple(one for one in erasure.places if one.place != place.place)
        await self.log.publish(erasure.model_copy(update={"places": (*others, place)}))

    async def _conclude(self, erasure_id: str) -> None:
        erasure, now = self.log.known[erasure_id], self.clock()
        rounds = erasure.rounds + 1
        next_at = next_round(erasure, rounds)
        told = {
            "rounds": rounds,
            "next_at": next_at,
            "erased_at": erasure.erased_at or now,
            "state": "erased",
        }
        if next_at is None:
            told |= {"state": "complete", "completed_at": now, "sealed": ""}
        await self.log.publish(erasure.model_copy(update=told))
        log.info("erasure_round_done", erasure=erasure_id, rounds=rounds, state=told["state"])


def what_failed(error: Exception) -> str:
    """A sentence for the receipt: what a place waits for, without addresses or
    statements, which are the operator's matter and in the log.
    """
    kind = next((one for one in type(error).__mro__ if one in _FAILED), Exception)
    return f"{_FAILED[kind]} It is tried again until it is done."


def _after(known: ErasedPlace, counted: Counted, rounds: int, *, repeats: bool) -> ErasedPlace:
    """A place once a round is done there."""
    found = max(known.pending, counted.found)
    erased = found - (counted.found - counted.erased)
    return ErasedPlace(
        place=known.place,
        found=max(known.found, found) if repeats else known.found + found,
        erased=max(known.erased, erased) if repeats else known.erased + erased,
        left=counted.left,
        why=counted.why or known.why,
        until=counted.until,
        rounds=rounds,
    )


def next_round(erasure: SubjectErasure, rounds: int) -> datetime | None:
    """When to look again: once nothing that was under way can come any more, and once
    the bus has no copy from which anything could be written anew; None after that.
    """
    if rounds == 1:
        return erasure.cut_at + timedelta(minutes=1)
    return bus_until(erasure) if rounds == 2 else None


def bus_until(erasure: SubjectErasure) -> datetime:
    """When the last copy on the bus is gone."""
    return max(until for _, _, until in copies(erasure.cut_at))
