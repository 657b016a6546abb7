"""Requests as security analysis sees them, and a log in memory that fails where told."""

import json
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import Enum
from typing import Any

from schemas.events.security import (
    AnyObservation,
    CheckpointRemembered,
    RequestObserved,
    RiskLevel,
    SecurityFinding,
    TextFinding,
    UserRisk,
)
from services.analyzer.security.child import Looking
from services.analyzer.security.domain.levels import level_of
from services.analyzer.security.domain.population import Effects
from services.analyzer.security.domain.statistics.similarity import sketch
from services.analyzer.security.partition_state import Change, LoggedState, Observed
from services.common.bus import FencedError
from services.common.control.thresholds import DEFAULT_THRESHOLDS
from services.common.errors import BusUnavailableError
from services.common.process.child.on_demand import Child, OnDemandChild

NOON = datetime(2026, 11, 2, 12, tzinfo=UTC)
THRESHOLDS = DEFAULT_THRESHOLDS


def seen(number: int = 0, *, at_s: float | None = None, text: str = "", **changes: Any) -> RequestObserved:
    """What request `number` showed, a minute after the one before."""
    values: dict[str, Any] = {
        "request_id": f"request-{number:06}",
        "tenant": "acme",
        "user": "u_anna",
        "key_id": "key00001",
        "model": "scripted",
        "at": NOON + timedelta(seconds=60 * number if at_s is None else at_s),
        "outcome": "completed",
        "sketch": sketch(text),
    }
    return RequestObserved(**(values | changes))


def attack(number: int = 0, score: float = 15.0, **changes: Any) -> RequestObserved:
    """A request with a finding in its prompt."""
    one = seen(number, score=score, **changes)
    finding = SecurityFinding(
        finding_id=f"finding-of-{one.request_id}",
        found_at=one.at,
        tenant=one.tenant,
        user=one.user,
        request_id=one.request_id,
        place="prompt",
        depth="full",
        category="jailbreak",
        level=level_of(score, THRESHOLDS),
        score=score,
        action="flagged",
    )
    return one.model_copy(update={"findings": (TextFinding(finding=finding, text=one.request_id),)})


def levels(effects: Effects) -> dict[str, RiskLevel]:
    """Of each category that was found, the level."""
    return {one.category: one.level for one in effects.findings}


class KilledError(BaseException):
    """The process was killed here."""


class Fault(Enum):
    """What may become of a transaction."""

    NONE = "it is committed"
    AWAY = "nothing was written"
    LOST_ANSWER = "it is committed, and the answer is lost"
    KILLED_BEFORE = "killed before it was committed"
    KILLED_AFTER = "killed after it was committed"


@dataclass
class FakeLog:
    """A partition of observations, and all that was written to the bus in transactions."""

    observations: list[Observed] = field(default_factory=list)
    findings: list[SecurityFinding] = field(default_factory=list)
    risks: dict[str, UserRisk | None] = field(default_factory=dict)
    subjects: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    checkpoint: CheckpointRemembered | None = None
    effects: int = 0
    epoch: int = 0
    faults: list[Fault] = field(default_factory=list)

    def add(self, some: Sequence[AnyObservation]) -> None:
        """Appends observations."""
        self.observations += [(len(self.observations) + place, one) for place, one in enumerate(some)]

    def state_log(self) -> "FakeStateLog":
        """What a new state reads and writes with."""
        return FakeStateLog(self)


@dataclass
class FakeStateLog:
    """`StateLog` over a `FakeLog`; a later one fences it."""

    log: FakeLog
    epoch: int = -1
    closed: bool = False

    async def open(self) -> LoggedState:
        """Fences the others."""
        self.log.epoch += 1
        self.epoch = self.log.epoch
        return LoggedState(
            self.log.checkpoint, dict(self.log.subjects), self.log.effects, len(self.log.observations)
        )

    async def replay(self, begin: int, end: int) -> AsyncIterator[Observed]:
        """What lies there."""
        for one in self.log.observations[begin:end]:
            yield one

    async def write(self, effects: Effects, change: Change) -> None:
        """All of it or nothing, with the next fault.

        Raises:
            FencedError: another has opened.
            BusUnavailableError: the next fault says so.
            KilledError: the next fault kills the process.
        """
        if self.epoch != self.log.epoch:
            raise FencedError("fenced")
        fault = self.log.faults.pop(0) if self.log.faults else Fault.NONE
        if fault in (Fault.NONE, Fault.LOST_ANSWER, Fault.KILLED_AFTER):
            self._commit(effects, change)
        if fault in (Fault.AWAY, Fault.LOST_ANSWER):
            raise BusUnavailableError("no answer")
        if fault is not Fault.NONE:
            raise KilledError

    async def close(self) -> None:
        """Disconnects."""
        self.closed = True

    def _commit(self, effects: Effects, change: Change) -> None:
        self.log.findings += effects.findings
        self.log.risks |= dict(effects.risks)
        self.log.effects = change.effects
        if change.checkpoint is not None:
            self.log.checkpoint = change.checkpoint
            self.log.subjects |= {one.subject: one.state for one in change.subjects}
            for one in change.removed:
                self.log.subjects.pop(one, None)


@dataclass
class FakeLooking:
    """The process that looks at texts, here: answers as it would, after the faults."""

    looking: Looking
    faults: list[Exception] = field(default_factory=list)
    started: int = 0
    is_alive: bool = True

    async def ask(self, asked: Any) -> Any:
        """What a job gives, through JSON as over the socket.

        Raises:
            Exception: the next fault.
        """
        if asked and self.faults:
            raise self.faults.pop(0)
        return json.loads(json.dumps(self.looking.answer(json.loads(json.dumps(asked)))))

    async def close(self) -> None:
        """Ends it."""

    @property
    def child(self) -> OnDemandChild:
        """As an inspector asks it."""

        async def start() -> Child:
            self.started += 1
            return self

        return OnDemandChild(start, 5.0, 60.0)
