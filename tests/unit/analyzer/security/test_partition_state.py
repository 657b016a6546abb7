"""What is known survives: whatever is killed when, each finding is told once."""

import functools
from collections.abc import Sequence
from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.events.security import AnyObservation, SubjectForgotten
from services.analyzer.security.domain.population import Rules
from services.analyzer.security.handlers import BehaviourWatcher
from services.analyzer.security.partition_state import PartitionState
from services.common.errors import BusUnavailableError
from tests.support.analyzer.security import NOON, THRESHOLDS, FakeLog, Fault, KilledError, attack, seen

_RULES = Rules(most_subjects=15)
_EVERY = 50


def _state(log: FakeLog) -> PartitionState:
    return PartitionState(0, log.state_log(), _RULES, lambda _tenant: THRESHOLDS, checkpoint_every=_EVERY)


@functools.cache
def _observations(count: int) -> list[AnyObservation]:
    """Of two dozen users, more than are remembered; every third an attack, some twice.
    Every fortieth line says to forget one of them.
    """
    return [
        _forgotten(f"u_{number % 24}", at_s=number * 300.0)
        if number % 40 == 39
        else (attack if number % 3 == 0 else seen)(
            number - (number % 11 == 10),
            at_s=number * 300.0,
            user=f"u_{number * 7919 % 24}",
            text=f"try {number % 5}",
        )
        for number in range(count)
    ]


def _forgotten(*users: str, at_s: float, keys: tuple[str, ...] = ()) -> SubjectForgotten:
    before = NOON + timedelta(seconds=at_s)
    return SubjectForgotten(tenant="acme", users=users, key_ids=keys, before=before)


async def _undisturbed(some: Sequence[AnyObservation]) -> FakeLog:
    log = FakeLog()
    log.add(some)
    state = _state(log)
    for start in range(0, len(log.observations), 50):
        await state.take(log.observations[start : start + 50])
    return log


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.tuples(st.integers(1, 90), st.sampled_from(Fault)), min_size=1, max_size=12),
    st.integers(0, 40),
)
async def test_findings_and_risks_are_those_of_an_undisturbed_state_whatever_dies_when(
    steps: list[tuple[int, Fault]], behind: int
) -> None:
    """Batches of any size, committed late; each finding once."""
    some = _observations(260)
    expected = await _undisturbed(some)
    log = FakeLog()
    log.add(some)
    state, place, turn = _state(log), 0, 0
    while place < len(some):
        size, fault = steps[turn % len(steps)] if turn < 3 * len(steps) else (90, Fault.NONE)
        log.faults, turn = [fault], turn + 1
        batch = log.observations[place : place + size]
        try:
            await state.take(batch)
        except BusUnavailableError:
            continue
        except KilledError:
            state = _state(log)
            place = max(0, place - behind)
            continue
        place += len(batch)
    assert log.findings == expected.findings
    assert len({one.finding_id for one in log.findings}) == len(log.findings)
    assert log.risks == expected.risks
    assert await _known(log) == await _known(expected)


async def _known(log: FakeLog) -> dict[str, object]:
    """What a state that begins now knows of everybody."""
    state = _state(log)
    population = await state._load(len(log.observations))
    return {subject: population.dump(subject) for subject, _ in population._states}


async def test_who_was_erased_is_forgotten_at_once_and_not_written_back() -> None:
    """Not by the state that knew them, nor by one that begins after a kill; others stay,
    and a shared key does not remember that it named them.
    """
    log = FakeLog()
    both = [attack(n, user=user) for n, user in enumerate(("u_jo", "u_anna") * 9)]
    log.add([*both, _forgotten("u_jo", "u_other", at_s=9e4, keys=("none",))])
    state = _state(log)
    for start in range(0, len(log.observations), 4):
        await state.take(log.observations[start : start + 4])
    assert set(log.subjects) == {"user:acme/u_anna", "key:acme/key00001"}
    assert log.risks["acme/u_jo"] is None
    assert log.risks["acme/u_anna"] is not None
    assert len(log.subjects["key:acme/key00001"]["users"]) == 1
    log.add([seen(1000 + n, at_s=2e5 + n * 600.0) for n in range(60)])
    await state.take(log.observations[19:])
    assert set(await _known(log)) == set(log.subjects) == {"user:acme/u_anna", "key:acme/key00001"}


async def test_forgetting_that_was_cut_off_is_done_by_whoever_is_next() -> None:
    """Killed on both sides of the transaction, and without an answer."""
    for fault in (Fault.KILLED_BEFORE, Fault.KILLED_AFTER, Fault.AWAY, Fault.LOST_ANSWER):
        log = FakeLog()
        log.add([attack(n, user="u_jo") for n in range(3)])
        await _state(log).take(log.observations)
        log.add([_forgotten("u_jo", at_s=9e4)])
        log.faults = [fault]
        with pytest.raises((KilledError, BusUnavailableError)):
            await _state(log).take(log.observations[3:])
        await _state(log).take(log.observations[3:])
        assert set(log.subjects) == {"key:acme/key00001"}
        assert log.risks == {"acme/u_jo": None}


async def test_who_comes_back_after_an_erasure_is_somebody_new_who_stays() -> None:
    """A later round forgets what came late of before, and nothing of the new life."""
    log = FakeLog()
    first = [attack(0, user="u_jo"), _forgotten("u_jo", at_s=100.0)]
    log.add([*first, attack(10, user="u_jo"), _forgotten("u_jo", at_s=100.0)])
    state = _state(log)
    await state.take(log.observations)
    assert log.subjects["user:acme/u_jo"]["since_s"] == (NOON + timedelta(minutes=10)).timestamp()
    assert log.risks["acme/u_jo"] is not None
    log.add([attack(1, user="u_jo"), _forgotten("u_jo", at_s=100.0)])  # read late, of before
    await state.take(log.observations[4:])
    assert "user:acme/u_jo" not in log.subjects


async def test_state_that_was_overtaken_writes_nothing_more() -> None:
    """Two believe that the partition is theirs, in turns: each finding still once."""
    some = _observations(300)
    expected = await _undisturbed(some)
    log = FakeLog()
    log.add(some)
    one, other = _state(log), _state(log)
    for start in range(0, 300, 30):
        batch = log.observations[start : start + 30]
        for state in (one, other):
            while True:
                try:
                    await state.take(batch)
                    break
                except BusUnavailableError:
                    continue
    assert log.findings == expected.findings
    assert log.risks == expected.risks


async def test_state_that_has_its_partition_back_knows_what_another_did_meanwhile() -> None:
    """What it was not given it reads."""
    some = _observations(200)
    log = FakeLog()
    log.add(some)
    one, other = _state(log), _state(log)
    await one.take(log.observations[:60])
    await other.take(log.observations[60:140])
    await one.take(log.observations[140:])
    assert log.findings == (await _undisturbed(some)).findings


async def test_checkpoint_is_written_every_so_often_with_what_changed() -> None:
    """A successor reads again what came after it, and no more."""
    log = FakeLog()
    log.add(_observations(2 * _EVERY))
    state = _state(log)
    for start in range(0, len(log.observations), 20):
        await state.take(log.observations[start : start + 20])
    assert log.checkpoint is not None
    assert log.checkpoint.offset >= _EVERY
    assert len(log.subjects) == _RULES.most_subjects


async def test_checkpoint_is_written_every_hour_where_little_comes() -> None:
    """The log keeps a week: what came before must not depend on it for ever."""
    log = FakeLog()
    log.add([seen(number, at_s=number * 600.0) for number in range(20)])
    state, offsets = _state(log), set()
    for one in log.observations:
        await state.take([one])
        offsets.add(log.checkpoint.offset if log.checkpoint else -1)
    assert sorted(offsets) == [0, 6, 12, 18]


async def test_memory_of_another_log_is_not_believed() -> None:
    """The topic was made anew: its offsets begin at 0, and everything is told."""
    log = await _undisturbed(_observations(150))
    log.observations, log.findings = [], []
    log.add(_observations(30))
    await _state(log).take(log.observations)
    assert log.findings == (await _undisturbed(_observations(30))).findings


async def test_memory_of_another_version_is_made_anew_from_the_log_and_tells_nothing_twice() -> None:
    """An upgrade changes what is remembered of a user."""
    some = _observations(230)
    log = FakeLog()
    log.add(some)
    await _state(log).take(log.observations[:170])
    assert log.checkpoint is not None
    log.checkpoint = log.checkpoint.model_copy(update={"format": 99})
    await _state(log).take(log.observations[170:])
    assert log.findings == (await _undisturbed(some)).findings


async def test_watcher_keeps_partitions_apart() -> None:
    """Each has its own order and its own memory."""
    logs = [FakeLog(), FakeLog()]
    watcher = BehaviourWatcher(
        lambda partition: PartitionState(
            partition, logs[partition].state_log(), _RULES, lambda _tenant: THRESHOLDS
        )
    )
    for partition in (0, 1):
        logs[partition].add([attack(partition)])
        await watcher._states.setdefault(partition, watcher.make_state(partition)).take(
            logs[partition].observations
        )
    await watcher.close()
    assert [len(one.findings) for one in logs] == [1, 1]


@pytest.mark.parametrize("fault", [Fault.AWAY, Fault.LOST_ANSWER])
async def test_transaction_whose_end_is_not_known_is_settled_by_reading(fault: Fault) -> None:
    """Tried again, it is neither lost nor doubled."""
    log = FakeLog(faults=[fault])
    log.add([attack(0)])
    state = _state(log)
    with pytest.raises(BusUnavailableError):
        await state.take(log.observations)
    await state.take(log.observations)
    assert [one.request_id for one in log.findings] == ["request-000000"]
