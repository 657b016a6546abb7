"""When opinions may be asked for."""

import pytest

from services.gateway.admission.inspection.spare_cpu import SpareCpu, read_cpu_times
from tests.unit.gateway.admission.inspection.scene import scene


@pytest.mark.parametrize(("idle", "has_some"), [(0, False), (19, False), (20, True), (100, True)])
def test_spare_cpu_is_a_fifth_that_was_idle(idle: int, *, has_some: bool) -> None:
    """Of the time since the last look; the first one knows nothing."""
    times, now_s = [(1000, 5000), (1000 + idle, 5100)], [0.0]
    spare = SpareCpu(lambda: now_s[0], lambda: times.pop(0))
    assert spare.has_some
    now_s[0] = 0.1
    assert spare.has_some  # not looked again so soon
    now_s[0] = 0.3
    assert spare.has_some is has_some


def test_machine_that_tells_nothing_has_some() -> None:
    """Not every system has such figures."""
    now_s = iter(range(9))
    spare = SpareCpu(lambda: next(now_s), lambda: None)
    assert all(spare.has_some for _ in range(3))
    assert read_cpu_times() is None or read_cpu_times() >= (0, 0)


async def test_opinion_is_left_out_where_no_cpu_is_idle_and_a_decision_is_not() -> None:
    """What is blocked stays blocked under load."""
    async with scene() as found:
        found.inspector.pool.has_spare_cpu = lambda: False
        risk = await found.risk("evil hint")
        assert (risk.depth, risk.timed_out) == ("rules", True)
        assert (await found.risk("evil rules")).action == "blocked"
