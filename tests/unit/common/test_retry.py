"""Waiting for what is away."""

import pytest

from services.common.errors import BusUnavailableError, PermanentError, StoreUnavailableError
from services.common.process.health import HealthState
from services.common.retry import DependencyRetry, Pauses, WaitAbandonedError


class Attempt:
    """Fails in turn, then answers 7."""

    def __init__(self, *errors: Exception) -> None:
        self.errors = list(errors)
        self.seen: list[list[str]] = []

    async def __call__(self) -> int:
        """The next outcome."""
        if self.errors:
            raise self.errors.pop(0)
        return 7


def _retry(health: HealthState, rests: list[float], role: str = "recorder") -> DependencyRetry:
    async def rest(seconds: float) -> None:
        rests.append(seconds)

    return DependencyRetry("group", health.of(role), rest, Pauses(jitter=lambda: 1.0))


async def test_attempt_is_repeated_until_it_succeeds_with_growing_rests() -> None:
    """However long the store or Kafka is away; then both are well again."""
    health, rests = HealthState(), list[float]()
    errors = [StoreUnavailableError("s")] * 4 + [BusUnavailableError("k")] * 3
    assert await _retry(health, rests).until_done(Attempt(*errors)) == 7
    assert rests == [0.1, 0.2, 0.4, 0.8, 1.6, 2.0, 2.0]
    assert {name: one.ok for name, one in health.dependencies.items()} == {
        "recorder.store": True,
        "recorder.kafka": True,
    }


async def test_what_is_no_longer_wanted_is_given_up() -> None:
    """None, and nothing is waited for any more."""
    rests: list[float] = []
    waiting = Attempt(*[StoreUnavailableError("s")] * 9)
    assert await _retry(HealthState(), rests).until_done(waiting, lambda: len(rests) < 3) is None
    assert len(waiting.errors) == 6


async def test_whoever_is_in_a_hurry_leaves_and_says_what_is_away() -> None:
    """/ready keeps saying so."""
    health = HealthState()
    with pytest.raises(WaitAbandonedError):
        await _retry(health, []).until_done(Attempt(StoreUnavailableError("gone")), hurried=lambda: True)
    assert (health.dependencies["recorder.store"].ok, health.dependencies["recorder.store"].detail) == (
        False,
        "gone",
    )


async def test_other_failures_are_raised_at_once() -> None:
    """Waiting would not mend them."""
    rests: list[float] = []
    with pytest.raises(PermanentError):
        await _retry(HealthState(), rests).until_done(Attempt(PermanentError("no")))
    assert rests == []


async def test_one_roles_store_does_not_hide_anothers() -> None:
    """Two roles of one process that wait: the one that is well again says nothing of the
    other.
    """
    health = HealthState(started=True)
    with pytest.raises(WaitAbandonedError):
        await _retry(health, [], "recorder").until_done(
            Attempt(StoreUnavailableError("s")), hurried=lambda: True
        )
    await _retry(health, [], "audit").until_done(Attempt())
    assert not health.ready
    assert health.describe()["dependencies"]["audit.store"]["ok"]
