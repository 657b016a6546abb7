"""How long the queue takes, told and in truth."""

import random
import statistics

import pytest

from services.inference.domain.dispatch.queue.queue_status import queue_status
from services.inference.domain.dispatch.queue.throughput import Throughput
from tests.support.inference.dispatch_world import World, request

Promise = tuple[str, float, float]
"""Of which request, when it was told, and when it shall begin."""


def told(world: World) -> dict[str, float]:
    """When each waiting request begins, as the dispatcher says now."""
    status = queue_status(world.dispatch, dispatcher_id="d", host="h", pid=1, now_s=world.now_s)
    eta_s = (status.eta_ms or 0.0) / 1000
    return {request_id: world.now_s + eta_s * place for request_id, place in status.positions.items()}


def run(world: World, durations_s: dict[str, float]) -> tuple[dict[str, float], list[Promise]]:
    """Serves all; gives when each began, and what was told of it."""
    began: dict[str, float] = {}
    promises: list[Promise] = []
    while len(began) < len(durations_s):
        world.pass_time(0.25)
        for name, running in list(world.replicas.items()):
            for key in list(running):
                since_s = began.setdefault(key[0], world.now_s)
                if world.now_s - since_s >= durations_s[key[0]]:
                    world.finish(name, key)
        if len(began) >= 12 and int(world.now_s) % 5 == 0:
            promises += [(request_id, world.now_s, at_s) for request_id, at_s in told(world).items()]
    return began, promises


@pytest.mark.parametrize(
    ("spread", "median"),
    [(0.0, 0.1), (0.5, 0.25), (1.0, 0.25)],
)
def test_told_wait_is_within_a_quarter_of_the_true_one(spread: float, median: float) -> None:
    """In the median, over answers that all take as long, and over such as differ by an
    order of magnitude, from the first dozen on.
    """
    errors: list[float] = []
    for seed in range(6):
        world, chance = World(), random.Random(seed)
        durations_s = {f"r{number}": 3.0 * chance.lognormvariate(0.0, spread) for number in range(120)}
        for _ in range(2):
            world.add_replica()
        world.ask(*(request(number) for number in range(120)))
        began, promises = run(world, durations_s)
        errors += [
            abs(at_s - began[who]) / (began[who] - now_s)
            for who, now_s, at_s in promises
            if began[who] > now_s
        ]
    assert len(errors) > 3000
    assert statistics.median(errors) <= median


def test_wait_is_known_from_the_first_end_on_and_right_after_a_pause() -> None:
    """Neither the short time since the start nor an hour of silence counts as slowness."""
    throughput = Throughput()
    assert throughput.interval_ms(4, [1.0], 0.0) is None
    throughput.note_held(2.0, 100.0)
    assert throughput.interval_ms(4, [], 100.0) == 500.0
    assert throughput.interval_ms(4, [2.0, 4.0], 100.0) == pytest.approx(1000 * 8 / 1.75 / 4)
    throughput.note_held(None, 101.0)
    assert throughput.interval_ms(4, [], 220.0) == 500.0
    assert throughput.interval_ms(0, [], 220.0) is None
    assert throughput.interval_ms(4, [], 500.0) is None


def test_wait_halves_at_once_where_replicas_double() -> None:
    """A window of ends would need its whole length to notice."""
    throughput = Throughput()
    for number in range(200):
        throughput.note_held(1.5, float(number))
    assert throughput.interval_ms(2, [], 200.0) == pytest.approx(750.0, rel=0.02)
    assert throughput.interval_ms(4, [], 200.0) == pytest.approx(375.0, rel=0.02)


def test_flooding_tenant_delays_anothers_first_request_by_at_most_one_slot() -> None:
    """A thousand of one tenant wait; another's first is served when the next slot is
    free, its second after one more of the thousand.
    """
    world = World()
    name = world.add_replica()
    world.pass_time(2)
    world.ask(*(request(number, tenant="flood") for number in range(1000)))
    world.pass_time(0.5)
    world.ask(*(request(2000 + number, tenant="quiet") for number in range(2)))
    served = []
    for _ in range(4):
        before = set(world.replicas[name])
        world.finish(name, next(iter(world.replicas[name])))
        world.load()
        served += [key[0] for key in world.replicas[name] if key not in before]
    first, second = served.index("r2000"), served.index("r2001")
    assert (first, second) in ((0, 2), (1, 3))
    waiting = queue_status(world.dispatch, dispatcher_id="d", host="h", pid=1, now_s=world.now_s).tenants
    assert list(waiting.values()) == [{"flood": 1000 - 2 - 2}]
