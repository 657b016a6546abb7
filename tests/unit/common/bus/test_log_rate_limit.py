"""What of aiokafka's log is shown."""

import inspect
import logging

import pytest
from aiokafka.consumer import group_coordinator

from services.common.bus.log_rate_limit import _ROUTINE, RateFilter, RoutineFilter

REBALANCING = "Heartbeat failed for group %s because it is rebalancing"


class Clock:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def record(message: str, level: int = logging.WARNING) -> logging.LogRecord:
    """A line of the driver."""
    return logging.LogRecord("aiokafka", level, __file__, 1, message, ("audit",), None)


@pytest.fixture
def clock() -> Clock:
    """Some time."""
    return Clock()


@pytest.mark.parametrize("message", sorted(_ROUTINE))
def test_routine_message_is_one_of_the_drivers(message: str) -> None:
    """By its very words: where an update changes them, it would be shown again."""
    source = "".join(part.strip(' "\n') + " " for part in inspect.getsource(group_coordinator).split('"\n'))
    words = " ".join(message.split())
    assert words in " ".join(source.replace('"', "").split())


def test_group_that_is_rebalancing_for_a_moment_is_not_shown(clock: Clock) -> None:
    """Each start and each restart of a peer brings it."""
    routine = RoutineFilter(clock=clock)
    for _ in range(3):
        assert not routine.filter(record(REBALANCING))
        clock.now += 9.0


def test_group_that_is_rebalancing_without_end_is_shown_as_it_is(clock: Clock) -> None:
    """Half a minute of it is no routine; after a pause it is again."""
    routine = RoutineFilter(clock=clock)
    shown = []
    for _ in range(6):
        one = record(REBALANCING)
        shown.append((routine.filter(one), one.levelno))
        clock.now += 10.0
    assert [let for let, _ in shown] == [False, False, False, True, True, True]
    assert shown[-1][1] == logging.WARNING
    clock.now += 31.0
    assert not routine.filter(record(REBALANCING))


def test_routine_message_while_debugging_is_shown_as_such(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is out of reach."""
    monkeypatch.setattr(logging.getLogger(), "level", logging.DEBUG)
    logging.getLogger().manager._clear_cache()  # type: ignore[attr-defined]
    one = record(REBALANCING)
    assert RoutineFilter(clock=clock).filter(one)
    assert one.levelname == "DEBUG"
    monkeypatch.undo()
    logging.getLogger().manager._clear_cache()  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "message",
    [
        "Unable connect to node with id %s: %s",
        "OffsetCommit failed for group %s due to group error (%s), will rejoin",
        "Heartbeat failed: %r",
        "Unexpected error in join group '%s' response: %s",
    ],
)
def test_anything_else_is_shown_at_once(message: str, clock: Clock) -> None:
    """What the driver does not mend alone, and a broker that is away."""
    assert RoutineFilter(clock=clock).filter(record(message, logging.ERROR))


def test_repeated_message_is_shown_once_in_five_seconds_with_their_number(clock: Clock) -> None:
    """A broker that is away fills no disk."""
    rate = RateFilter(clock=clock)
    shown = []
    for _ in range(12):
        one = record("Unable connect to node with id %s")
        if rate.filter(one):
            shown.append(str(one.msg))
        clock.now += 1.0
    assert (
        shown
        == ["Unable connect to node with id %s"]
        + ["Unable connect to node with id %s (and 4 more like it)"] * 2
    )
