"""What is known of the users and keys of one partition of security.observations, and
how it survives.

What follows from a batch (findings, risks) is written in one transaction with the
offset that it follows from, `effects`. Every 1,000 observations or so, and every hour of
their time, the subjects that changed are written in one, too: a checkpoint. Whoever
takes the partition over fences its former owner, reads the checkpoint, reads the
observations since then again, and tells nothing of those before `effects`. So whatever
is killed when, each finding is told once, and what is known is what an undisturbed
owner would know. Whom it is to forget is told among the observations, so that holds of
it, too; a checkpoint is then written at once, which takes them off the bus.
"""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import structlog

from schemas.events.security import (
    AnyObservation,
    CheckpointRemembered,
    SubjectForgotten,
    SubjectRemembered,
)
from services.analyzer.security.domain.findings import CATEGORIES
from services.analyzer.security.domain.population import FORMAT, Effects, Population, Rules
from services.common.bus import FencedError
from services.common.control.thresholds import Thresholds
from services.common.errors import BusUnavailableError
from services.common.process import metrics

log = structlog.get_logger(__name__)

CHECKPOINT_EVERY = 1000
_CHECKPOINT_S = 3600.0
_MOST_REPLAYED = 500_000
Observed = tuple[int, AnyObservation]


@dataclass(frozen=True, slots=True)
class LoggedState:
    """What the log has of a partition: the checkpoint with the subjects' states, before
    which offset everything was told, and the offset that the next observation will have.
    """

    checkpoint: CheckpointRemembered | None
    subjects: Mapping[str, Mapping[str, Any]]
    effects: int
    end: int


@dataclass(frozen=True, slots=True)
class Change:
    """What is to be remembered: a checkpoint with the subjects that changed since the
    one before and those that are forgotten, if it is time for one, and before which
    offset everything is told.
    """

    effects: int
    checkpoint: CheckpointRemembered | None = None
    subjects: tuple[SubjectRemembered, ...] = ()
    removed: tuple[str, ...] = ()


class StateLog(Protocol):
    """Where a partition's state reads and writes; `BusStateLog`, or a fake."""

    async def open(self) -> LoggedState:
        """Fences whoever wrote before, and reads what is there."""

    def replay(self, begin: int, end: int) -> AsyncIterator[Observed]:
        """The observations from `begin` to before `end` that the log still has."""

    async def write(self, effects: Effects, change: Change) -> None:
        """Writes all of it, or nothing."""

    async def close(self) -> None:
        """Disconnects."""


@dataclass
class PartitionState:
    """One partition's population, from the first batch that is given on."""

    partition: int
    state_log: StateLog
    rules: Rules
    thresholds: Callable[[str], Thresholds]
    checkpoint_every: int = CHECKPOINT_EVERY
    _population: Population | None = field(default=None, init=False)
    _next: int = field(default=0, init=False)
    _effects: int = field(default=0, init=False)
    _checkpoint: int = field(default=-1, init=False)
    _checkpoint_s: float = field(default=0.0, init=False)
    _newest_s: float = field(default=0.0, init=False)
    _forgot: bool = field(default=False, init=False)
    """Somebody was forgotten since the last checkpoint."""

    async def take(self, batch: Sequence[Observed]) -> None:
        """Takes observations in their order into account, and tells what follows; those
        that were taken before change nothing.

        Raises:
            BusUnavailableError: what follows was not written, or what was known could
                not be read, or another has taken over. What was known is then read
                again with the next batch.
        """
        try:
            await self._take(batch)
        except FencedError as error:
            self._population = None
            raise BusUnavailableError(f"partition {self.partition} has another owner by now") from error
        except BaseException:
            self._population = None
            raise

    async def close(self) -> None:
        """Disconnects."""
        await self.state_log.close()

    async def _take(self, batch: Sequence[Observed]) -> None:
        population = self._population
        if population is None or batch[0][0] > self._next:
            population = await self._load(batch[0][0])
        effects = Effects()
        for offset, seen in batch:
            if offset >= self._next:
                effects = effects.plus(self._observe(population, offset, seen))
        due = (
            self._forgot
            or self._next - self._checkpoint > self.checkpoint_every
            or self._newest_s - self._checkpoint_s >= _CHECKPOINT_S
        )
        if effects or due:
            await self._write(population, effects, checkpoint=due)
        self._population = population
        self._tell(population, effects)

    def _observe(self, population: Population, offset: int, seen: AnyObservation) -> Effects:
        """What one observation leads to; nothing where that was told before."""
        self._next = offset + 1
        if isinstance(seen, SubjectForgotten):
            self._forgot = True
            effects = population.forget(seen)
        else:
            effects = population.observe(seen, offset)
            self._newest_s = max(self._newest_s, seen.at.timestamp())
        if offset % self.checkpoint_every == self.checkpoint_every - 1:
            effects = effects.plus(population.sweep(self._newest_s))
        return effects if offset >= self._effects else Effects()

    async def _load(self, first: int) -> Population:
        """What was known before `first`, from the checkpoint and what came after it."""
        found = await self.state_log.open()
        population = Population(self.rules, self.thresholds)
        is_same_log = max(found.effects, found.checkpoint.offset + 1 if found.checkpoint else 0) <= found.end
        checkpoint = found.checkpoint if is_same_log else None
        if checkpoint is not None and checkpoint.format == FORMAT:
            population.restore(found.subjects, checkpoint.seen)
            self._checkpoint, self._newest_s = checkpoint.offset, checkpoint.newest_s
        else:
            self._checkpoint, self._newest_s = max(-1, first - _MOST_REPLAYED), 0.0
            log.info("behaviour_begins_anew", partition=self.partition, is_same_log=is_same_log)
        self._checkpoint_s = self._newest_s
        self._effects = found.effects if is_same_log else 0
        self._next = self._checkpoint + 1
        self._forgot = False
        missed = Effects()
        if self._next < first:
            async for offset, seen in self.state_log.replay(self._next, first):
                metrics.SECURITY_REPLAYED.inc()
                missed = missed.plus(self._observe(population, offset, seen))
            self._next = max(self._next, first)
        if missed or self._forgot:
            await self._write(population, missed, checkpoint=self._forgot)
            self._tell(population, missed)
        log.info("behaviour_known", partition=self.partition, subjects=len(population), offset=first)
        return population

    async def _write(self, population: Population, effects: Effects, *, checkpoint: bool) -> None:
        told = max(self._effects, self._next)
        change = self._change(population, told) if checkpoint else Change(told)
        await self.state_log.write(effects, change)
        self._effects = told
        if checkpoint:
            self._checkpoint, self._checkpoint_s = self._next - 1, self._newest_s
            self._forgot = False
            population.changed.clear()
            population.removed.clear()

    def _change(self, population: Population, told: int) -> Change:
        """A checkpoint of the population as it stands."""
        return Change(
            told,
            CheckpointRemembered(
                partition=self.partition,
                format=FORMAT,
                offset=self._next - 1,
                newest_s=self._newest_s,
                seen=population.seen(),
            ),
            tuple(
                [
                    SubjectRemembered(
                        partition=self.partition,
                        subject=one,
                        format=FORMAT,
                        state=population.dump(one),
                        since=population.since(one),
                    )
                    for one in sorted(population.changed)
                ]
            ),
            tuple(sorted(population.removed)),
        )

    def _tell(self, population: Population, effects: Effects) -> None:
        for finding in effects.findings:
            category = finding.category if finding.category in CATEGORIES else "other"
            metrics.SECURITY_THREATS.labels(category, finding.level.value).inc()
        for _, risk in effects.risks:
            metrics.SECURITY_RISKS.labels("told" if risk is not None else "ended").inc()
        metrics.SECURITY_SUBJECTS.labels(str(self.partition)).set(len(population))
        metrics.SECURITY_FORGOTTEN.inc(population.forgotten)
        metrics.SECURITY_REPEATED.inc(population.repeated)
        population.forgotten = population.repeated = 0
