"""Judging through kills, a store that is away, and another who has taken over."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.events.insight.kpi import BreachState, KpiBreached, KpiStateRemembered, OpenBreach
from services.analyzer.kpi.domain.breaches import Reading, Rule
from services.analyzer.kpi.domain.grid import WINDOW
from services.analyzer.kpi.evaluator import Evaluator
from services.common.bus import FencedError
from services.common.errors import BusUnavailableError, StoreUnavailableError

AT = datetime(2026, 11, 28, 10, tzinfo=UTC)
S = timedelta(seconds=1)
RULES = {"error_rate": Rule("error_rate", 0.05, "above", WINDOW, "requests", 20, 3)}


class KilledError(BaseException):
    """The process was killed here."""


@dataclass
class FakeStateLog:
    """The bus: what was told and is remembered outlives whoever wrote it."""

    told: list[KpiBreached] = field(default_factory=list)
    state: KpiStateRemembered | None = None
    opened: int = 0
    writes: int = 0
    fail_at: dict[int, BaseException] = field(default_factory=dict)
    lose_answer_at: dict[int, BaseException] = field(default_factory=dict)

    async def open(self) -> KpiStateRemembered | None:
        """What is there."""
        self.opened += 1
        return self.state

    async def write(self, told: Sequence[KpiBreached], state: KpiStateRemembered) -> None:
        """All or nothing; may fail before or after."""
        self.writes += 1
        if self.writes in self.fail_at:
            raise self.fail_at.pop(self.writes)
        self.told += told
        self.state = state
        if self.writes in self.lose_answer_at:
            raise self.lose_answer_at.pop(self.writes)

    async def close(self) -> None:
        """Nothing."""


@dataclass
class FakeReadings:
    """Errors from `bad_from` until `bad_until`."""

    bad_from: datetime
    bad_until: datetime
    away: bool = False
    asked: int = 0

    async def recent(self, end: datetime) -> list[Reading]:
        """The window's."""
        self.asked += 1
        if self.away:
            raise StoreUnavailableError("away")
        bad = 50 if self.bad_from <= end < self.bad_until else 0
        return [Reading("error_rate", bad / 100, 100, bad, model="m")]

    async def slow(self, end: datetime) -> list[Reading]:
        """None."""
        del end
        return []

    async def late_requests(self, end: datetime) -> int:
        """None."""
        del end
        return 0

    async def examples(self, breach: OpenBreach) -> tuple[str, ...]:
        """One."""
        return (f"request-of-{breach.model}",)


@dataclass
class FakeProgress:
    """A recorder that is a second behind."""

    quiet: bool = False

    async def watermark(self, now: datetime) -> datetime | None:
        """A second ago."""
        return now - S

    def is_quiet_since(self, moment: datetime) -> bool:
        """As told."""
        del moment
        return self.quiet


@dataclass
class World:
    """A clock that is set, and who judges."""

    readings: FakeReadings = field(default_factory=lambda: FakeReadings(AT + 60 * S, AT + 120 * S))
    log: FakeStateLog = field(default_factory=FakeStateLog)
    progress: FakeProgress = field(default_factory=FakeProgress)
    now: datetime = AT

    def evaluator(self) -> Evaluator:
        """One that knows nothing yet."""
        return Evaluator("kpi", RULES, self.readings, self.log, self.progress, lambda: self.now)


async def _live(world: World, seconds: int, kill_after: set[int] = frozenset()) -> None:  # type: ignore[assignment]
    """Judges each second; is killed and replaced where told."""
    evaluator = world.evaluator()
    for second in range(seconds):
        world.now = AT + second * S
        try:
            await evaluator.judge_what_is_due()
        except KilledError:
            evaluator = world.evaluator()
        except (BusUnavailableError, StoreUnavailableError):
            pass
        if second in kill_after:
            evaluator = world.evaluator()


def _shape(told: Sequence[KpiBreached]) -> list[tuple[str, str, datetime, tuple[str, ...]]]:
    return [(one.breach_id, one.state.value, one.window_end, one.examples) for one in told]


async def test_breach_is_told_with_examples_within_two_seconds_of_its_window() -> None:
    """And its end."""
    world = World()
    await _live(world, 240)
    begun, ended = world.log.told
    assert (begun.state, ended.state) == (BreachState.BREACHED, BreachState.RECOVERED)
    assert begun.window_end == AT + 60 * S
    assert begun.detected_at - begun.window_end <= 2 * S
    assert begun.examples == ("request-of-m",)
    assert ended.window_end == AT + 180 * S
    assert world.log.writes < 12  # the begin of all, clear since, and each minute


@given(st.sets(st.integers(0, 189), max_size=20), st.dictionaries(st.integers(1, 8), st.booleans()))
async def test_whoever_is_killed_when_each_is_told_once(kills: set[int], faults: dict[int, bool]) -> None:
    """Between windows, before a write, or after it with the answer lost."""
    calm = World()
    await _live(calm, 190)
    world = World()
    for number, before in faults.items():
        (world.log.fail_at if before else world.log.lose_answer_at)[number] = KilledError()
    await _live(world, 190, kills)
    assert _shape(world.log.told) == _shape(calm.log.told)


@pytest.mark.parametrize("error", [FencedError("other"), BusUnavailableError("away")])
async def test_write_that_fails_is_judged_again_from_what_is_there(error: Exception) -> None:
    """Also where it was written after all."""
    for faults in ("fail_at", "lose_answer_at"):
        world = World()
        getattr(world.log, faults)[3] = error
        await _live(world, 240)
        assert [one.state.value for one in world.log.told] == ["breached", "recovered"]
        assert world.log.opened == 2


async def test_store_that_was_away_is_caught_up_with() -> None:
    """Windows of the time between are judged as they were, late."""
    world = World()
    evaluator = world.evaluator()
    await evaluator.judge_what_is_due()
    world.readings.away, world.now = True, AT + 100 * S
    with pytest.raises(StoreUnavailableError):
        await evaluator.judge_what_is_due()
    world.readings.away, world.now = False, AT + 250 * S
    await evaluator.judge_what_is_due()
    assert [one.window_end for one in world.log.told] == [AT + 60 * S, AT + 180 * S]


async def test_quiet_installation_asks_the_store_nothing() -> None:
    """Nothing was published for five minutes: the windows are empty."""
    world = World(progress=FakeProgress(quiet=True))
    await _live(world, 600)
    assert world.readings.asked == 0


async def test_who_stands_by_reads_again_what_was_told() -> None:
    """Another judged in the meantime."""
    world = World()
    first, second = world.evaluator(), world.evaluator()
    await first.judge_what_is_due()
    world.now = AT + 90 * S
    await second.judge_what_is_due()
    await first.stand_by()
    world.now = AT + 100 * S
    await first.judge_what_is_due()
    assert len(world.log.told) == 1
