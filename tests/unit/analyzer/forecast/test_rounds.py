"""Rounds that fail, that are repeated, and that two analyzers begin."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from schemas.events.insight.kpi import KpiBreached, KpiStateRemembered
from services.analyzer.forecast.history import Subject
from services.analyzer.forecast.role import ForecastRole
from services.analyzer.forecast.round import Rounds
from services.analyzer.settings import Settings
from services.common.bus import FencedError
from services.common.errors import BusUnavailableError, StoreUnavailableError
from services.common.process.health import HealthState

END = datetime(2026, 11, 28, 10, tzinfo=UTC)
HOUR = int(END.timestamp()) // 3600
_SPIKE = {
    "method": "seasonal",
    "figure": "requests",
    "kind": "spike",
    "side": "above",
    "found": HOUR - 1,
    "first": HOUR - 1,
    "last": HOUR - 1,
    "peak_hour": HOUR - 1,
    "drivers": [],
} | dict.fromkeys(("observed", "expected", "low", "high", "score", "total_observed", "total_expected"), 9.0)
_ANSWER: dict[str, Any] = {"forecasts": [], "anomalies": [_SPIKE]}
_CALM: dict[str, Any] = {"forecasts": [], "anomalies": []}
_LEFT: dict[str, Any] = {"left": "it took more than 120 s of CPU"}


@dataclass
class Log:
    """What all analyzers see: the last that opened writes."""

    state: KpiStateRemembered | None = None
    told: list[KpiBreached] = field(default_factory=list)
    owner: Any = None


@dataclass(eq=False)
class OwnLog:
    """An analyzer's door to it."""

    log: Log
    opened: int = 0

    async def open(self) -> KpiStateRemembered | None:
        """Fences the others."""
        self.log.owner, self.opened = self, self.opened + 1
        return self.log.state

    async def read(self) -> KpiStateRemembered | None:
        """Fences nobody."""
        return self.log.state

    async def write(self, told: Sequence[KpiBreached], state: KpiStateRemembered) -> None:
        """All of it, or nothing."""
        if self.log.owner is not self:
            raise FencedError("fenced by a newer producer")
        self.log.told += told
        self.log.state = state

    async def close(self) -> None:
        """Nothing."""


@dataclass
class Stored:
    """The store and the history in it: the platform alone."""

    tokens: list[str] = field(default_factory=list)
    rows: list[Any] = field(default_factory=list)

    async def insert(self, _table: Any, rows: list[Any], *, token: str) -> None:
        """Takes what has a token that it does not know."""
        if token not in self.tokens:
            self.rows += rows
        self.tokens.append(token)

    async def newest_round(self) -> None:
        """None."""

    async def known(self, _since: datetime) -> list[Any]:
        """None."""
        return []

    async def read(self, _as_of: datetime) -> list[Subject]:
        """The platform, with an hour of history."""
        return [Subject("", "", HOUR - 1, {"requests": [7.0]})]


@dataclass
class Child:
    """Answers as told, once it may."""

    answer: dict[str, Any] = field(default_factory=lambda: _ANSWER)
    asked: asyncio.Event = field(default_factory=asyncio.Event)
    may_answer: asyncio.Event = field(default_factory=asyncio.Event)

    async def ask(self, _job: Any, *, tenant: str) -> dict[str, Any]:
        """Waits until it may."""
        self.asked.set()
        await self.may_answer.wait()
        return self.answer

    async def close(self) -> None:
        """Nothing."""


@dataclass
class Analyzer:
    """One of several; `now_s` is its clock."""

    log: Log
    stored: Stored = field(default_factory=Stored)
    child: Child = field(default_factory=Child)
    now_s: float = 0.0

    def __post_init__(self) -> None:
        self.door = OwnLog(self.log)
        stored: Any = self.stored
        child: Any = self.child
        self.rounds = Rounds(
            "forecast", stored, stored, self.door, lambda: END, lambda: self.now_s, "UTC", 60.0, child
        )

    async def fenced_by(self, other: "Analyzer") -> "asyncio.Task[bool]":
        """Works on a round while another begins it, and is refused; the other's, under way."""
        ours = asyncio.create_task(self.rounds.do(END))
        await self.child.asked.wait()
        theirs = asyncio.create_task(other.rounds.do(END))
        await other.child.asked.wait()
        self.child.may_answer.set()
        with pytest.raises(BusUnavailableError, match="another forecasts"):
            await ours
        return theirs


async def test_who_is_fenced_lets_the_other_finish() -> None:
    """However often it tries: it begins no round, so the other's is told, once."""
    log = Log()
    first, second = Analyzer(log), Analyzer(log)
    theirs = await first.fenced_by(second)
    for _ in range(5):
        first.now_s += 50
        with pytest.raises(BusUnavailableError, match="waited for"):
            await first.rounds.do(END)
    second.child.may_answer.set()
    assert await theirs
    assert not await first.rounds.do(END)
    assert (first.door.opened, second.door.opened, len(log.told)) == (1, 1, 1)
    assert await first.rounds.do(END + timedelta(hours=1))


async def test_who_is_fenced_by_one_that_then_dies_does_the_round() -> None:
    """After the time that a round may take."""
    log = Log()
    first, second = Analyzer(log), Analyzer(log)
    theirs = await first.fenced_by(second)
    theirs.cancel()
    await asyncio.gather(theirs, return_exceptions=True)
    first.now_s += 60 + 300 - 1
    with pytest.raises(BusUnavailableError, match="waited for"):
        await first.rounds.do(END)
    first.now_s += 1
    assert await first.rounds.do(END)
    assert len(log.told) == 1


async def test_subject_that_is_left_out_of_a_round_has_not_recovered() -> None:
    """Its breach stays open until a round has judged it."""
    analyzer = Analyzer(Log())
    analyzer.child.may_answer.set()
    states = []
    for hour, answer in enumerate((_ANSWER, _LEFT, _CALM)):
        analyzer.child.answer = answer
        assert await analyzer.rounds.do(END + timedelta(hours=hour))
        states.append([one.state.value for one in analyzer.log.told])
    assert states == [["breached"], ["breached"], ["breached", "recovered"]]
    assert [(one.value, one.samples) for one in analyzer.log.told] == [(9.0, 1), (7.0, 1)]


async def test_repeated_round_replaces_rows_of_an_incomplete_try() -> None:
    """The store takes rows of a token once: other rows have another, the same ones the same."""
    analyzer = Analyzer(Log())
    analyzer.child.may_answer.set()
    written = []
    for answer in (_LEFT, _ANSWER, _ANSWER):
        analyzer.log.state, analyzer.child.answer = None, answer
        assert await analyzer.rounds.do(END)
        written.append(len(analyzer.stored.rows))
    reasons, spike = 8, 1
    assert written == [reasons, reasons + spike, reasons + spike]


async def test_rounds_that_fail_are_tried_less_and_less_often() -> None:
    """Up to ten minutes apart; one that is done ends that."""
    role = ForecastRole(Settings(), HealthState())
    failing, done = True, []

    class Failing:
        async def do(self, as_of: datetime) -> bool:
            if failing:
                raise StoreUnavailableError("away")
            done.append(as_of)
            return True

        async def watermark(self, now: datetime) -> datetime:
            return now

        async def close(self) -> None:
            """Nothing."""

    role._rounds = role._progress = Failing()  # type: ignore[assignment]
    pauses = [await role._work() for _ in range(12)]
    for number, pause in enumerate(pauses):
        longest = min(600.0, 5.0 * 2**number)
        assert longest / 2 <= pause <= longest
    failing = False
    assert [await role._work(), await role._work()] == [5.0, 5.0]
    assert (len(done), role._failed) == (1, 0)
    await role._store.close()
