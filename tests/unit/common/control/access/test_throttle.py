"""Whoever keeps trying keys has to wait, in bounded memory."""

import pytest

from services.common.control.access.throttle import FailureThrottle


def failing(throttle: FailureThrottle, client: str, times: int, at_s: float = 0.0) -> None:
    """Counts so many failures at one time."""
    for _ in range(times):
        throttle.failed(client, at_s)


def test_client_with_few_failures_need_not_wait() -> None:
    """People mistype."""
    throttle = FailureThrottle()
    failing(throttle, "a", 4)
    assert throttle.wait_s("a", 0.0) == 0.0


@pytest.mark.parametrize(("failures", "wait_s"), [(5, 1), (6, 2), (9, 16), (11, 60), (500, 60)])
def test_client_with_many_failures_waits_twice_as_long_each_time(failures: int, wait_s: float) -> None:
    """Up to a minute, never for good."""
    throttle = FailureThrottle()
    failing(throttle, "a", failures)
    assert throttle.wait_s("a", 0.0) == wait_s
    assert throttle.wait_s("a", wait_s) == 0.0
    assert throttle.wait_s("b", 0.0) == 0.0


def test_client_that_was_quiet_begins_anew() -> None:
    """A quarter of an hour without a failure wipes the slate."""
    throttle = FailureThrottle()
    failing(throttle, "a", 50)
    assert throttle.wait_s("a", 900.0) == 0.0
    throttle.failed("a", 900.0)
    assert throttle.wait_s("a", 900.0) == 0.0


def test_many_clients_take_bounded_memory() -> None:
    """The latest ones are remembered."""
    throttle = FailureThrottle(capacity=100)
    for number in range(10_000):
        failing(throttle, str(number), 6)
    assert throttle.wait_s("9999", 0.0) > 0
    assert throttle.wait_s("0", 0.0) == 0.0
    assert len(throttle._failures) == 100


def test_failure_counts_while_a_client_is_slowed() -> None:
    """Whoever goes on trying all the while stays slow; there are no free tries."""
    throttle = FailureThrottle()
    failing(throttle, "a", 5)
    assert throttle.wait_s("a", 0.0) == 1
    failing(throttle, "a", 3)
    assert throttle.wait_s("a", 0.0) == 8
