"""Whose job is next, and how many there may be."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.gateway.admission.inspection.fair_queue import FairQueue, Job


def job(tenant: str = "a", size_bytes: int = 1, *, urgent: bool = False) -> Job:
    """A job that nobody waits for."""
    result = asyncio.get_event_loop_policy().new_event_loop().create_future()
    result.get_loop().close()
    return Job({"texts": []}, tenant, size_bytes, result, urgent)


async def all_of(queue: FairQueue) -> list[Job]:
    """Everything that waits, in its order."""
    return [await queue.take() for _ in range(len(queue))]


async def test_tenants_take_turns_however_much_one_sends() -> None:
    """The flood of one is no wait for another."""
    queue = FairQueue(100, 1000)
    jobs = [job("flood") for _ in range(10)] + [job("calm")]
    assert all(map(queue.put, jobs))
    assert [one.tenant for one in await all_of(queue)][:3] == ["flood", "calm", "flood"]


async def test_urgent_jobs_go_first() -> None:
    """What decides on a block comes before an opinion."""
    queue = FairQueue(100, 1000)
    assert queue.put(job("a"))
    assert queue.put(job("b", urgent=True))
    assert [one.urgent for one in await all_of(queue)] == [True, False]


@pytest.mark.parametrize(("jobs", "size_bytes"), [(10, 1), (1000, 100)])
async def test_tenant_fills_a_half_and_leaves_room_for_others(jobs: int, size_bytes: int) -> None:
    """In number, and in bytes."""
    queue = FairQueue(jobs, 1000)
    taken = sum(queue.put(job("flood", size_bytes)) for _ in range(jobs))
    assert taken == 5
    assert queue.put(job("calm", size_bytes))
    assert not queue.put(job("flood", size_bytes))


@pytest.mark.parametrize(("jobs", "size_bytes"), [(60, 1), (10_000, 100)])
async def test_however_many_tenants_flood_there_is_room_for_one_more(jobs: int, size_bytes: int) -> None:
    """Two took a half each before, and all others were refused."""
    queue = FairQueue(jobs, 6000)
    for _ in range(60):
        for flood in ("one", "two", "three", "four"):
            queue.put(job(flood, size_bytes))
    assert 40 <= len(queue) < 60
    assert queue.put(job("calm", size_bytes))


async def test_queue_is_bounded_over_all_tenants() -> None:
    """However many there are."""
    queue = FairQueue(8, 1000)
    taken = sum(queue.put(job(str(number))) for number in range(100))
    assert taken == len(queue) < 8


async def test_discarded_job_leaves_room_and_never_comes() -> None:
    """Twice changes nothing, nor does it for one that was taken."""
    queue, gone, kept = FairQueue(6, 30), job("a", 5), job("b", 5)
    assert queue.put(gone)
    assert queue.put(kept)
    for _ in range(2):
        queue.discard(gone)
    assert await all_of(queue) == [kept]
    queue.discard(kept)
    assert len(queue) == 0


async def test_take_waits_for_a_job() -> None:
    """Nobody polls."""
    queue = FairQueue(4, 10)
    taking = asyncio.create_task(queue.take())
    await asyncio.sleep(0)
    first = job()
    queue.put(first)
    assert await taking is first


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 9), st.booleans(), st.booleans())))
def test_queue_counts_what_it_holds(steps: list[tuple[str, int, bool, bool]]) -> None:
    """Whatever is put, taken and discarded, nothing stays counted in the end."""
    queue, held = FairQueue(8, 30), list[Job]()
    for tenant, size_bytes, urgent, drop in steps:
        made = job(tenant, size_bytes, urgent=urgent)
        if queue.put(made):
            held.append(made)
        if drop and held:
            queue.discard(held.pop(0))
        assert len(queue) == len(held) <= 8
    for one in held:
        queue.discard(one)
    assert (len(queue), queue._bytes.taken, queue._lanes) == (0, 0, ({}, {}))
