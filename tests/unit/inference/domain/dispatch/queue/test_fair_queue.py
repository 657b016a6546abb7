"""Who is served next."""

from hypothesis import given
from hypothesis import strategies as st

from schemas.inference import Lane, QueueStatus
from services.common.requests.fair_turns import BATCH_SHARE, position_of_next
from services.inference.domain.dispatch.queue.fair_queue import POSITIONS_SHOWN, TENANTS_SHOWN, FairQueue


def fill(queue: FairQueue, *requests: tuple[str, Lane, str, bool]) -> None:
    """Requests that wait."""
    for request_id, lane, tenant, retry in requests:
        queue.push(request_id, lane=lane, tenant=tenant, retry=retry)


def drain(queue: FairQueue) -> list[str]:
    """Everything in the order of service."""
    served: list[str] = []
    while (request_id := queue.pop()) is not None:
        served.append(request_id)
    return served


REQUESTS = st.lists(st.tuples(st.sampled_from(Lane), st.sampled_from("abc"), st.booleans()), max_size=60).map(
    lambda found: [(f"r{at}", lane, tenant, retry) for at, (lane, tenant, retry) in enumerate(found)]
)


@given(REQUESTS)
def test_order_that_is_told_is_the_order_of_service(requests: list[tuple[str, Lane, str, bool]]) -> None:
    """A position is honest: nothing else coming, that is when it is served."""
    queue = FairQueue()
    fill(queue, *requests)
    told = list(queue.in_order())
    positions = queue.positions()
    assert drain(queue) == told
    assert positions == {request_id: at for at, request_id in enumerate(told[:POSITIONS_SHOWN], 1)}


@given(REQUESTS, st.lists(st.floats(0.01, 200), min_size=3, max_size=3), st.integers(0, 20), st.data())
def test_order_is_told_whatever_the_shares_and_in_the_middle_of_a_turn(
    requests: list[tuple[str, Lane, str, bool]], shares: list[float], served: int, data: st.DataObject
) -> None:
    """After some were served, and others taken out."""
    queue = FairQueue()
    for request_id, lane, tenant, retry in requests:
        queue.push(request_id, lane=lane, tenant=tenant, retry=retry, share=shares["abc".index(tenant)])
    for _ in range(served):
        queue.pop()
    waiting = list(queue.in_order())
    for request_id in data.draw(st.sets(st.sampled_from(waiting))) if waiting else ():
        queue.remove(request_id)
    told = list(queue.in_order())
    assert drain(queue) == told


def told_next(queue: FairQueue, tenant: str, lane: Lane, share: float) -> int:
    """The place that a gateway reads of a dispatcher's word."""
    word = QueueStatus(
        dispatcher_id="d",
        model="m",
        host="h",
        pid=1,
        active=True,
        turns={one: queue.turns(one) for one in Lane},
        retries=queue.retries,
        interactive_run=queue.interactive_run,
    )
    read = QueueStatus.model_validate_json(word.encode())
    return position_of_next(read, tenant=tenant, lane=lane, share=share)


@given(
    REQUESTS,
    st.lists(st.floats(0.01, 200), min_size=4, max_size=4),
    st.integers(0, 30),
    st.tuples(st.sampled_from(Lane), st.sampled_from("abcd"), st.floats(0.01, 200)),
)
def test_place_of_the_next_is_told_before_it_waits_whatever_the_shares(
    requests: list[tuple[str, Lane, str, bool]],
    shares: list[float],
    served: int,
    coming: tuple[Lane, str, float],
) -> None:
    """In the middle of a turn, too, and for a tenant whose share has just changed."""
    lane, tenant, changed = coming
    queue = FairQueue()
    for request_id, of_lane, name, retry in requests:
        queue.push(request_id, lane=of_lane, tenant=name, retry=retry, share=shares["abcd".index(name)])
    for _ in range(served):
        queue.pop()
    told = told_next(queue, tenant, lane, changed)
    queue.push("next", lane=lane, tenant=tenant, retry=False, share=changed)
    assert told == queue.positions()["next"]


@given(st.integers(1, 20), st.integers(1, 150))
def test_heavier_tenants_come_first_by_their_share(share: int, waiting: int) -> None:
    """A newcomer of share one waits for one whole turn of the heavy tenant."""
    queue = FairQueue()
    for at in range(waiting):
        queue.push(f"h{at}", lane=Lane.INTERACTIVE, tenant="heavy", retry=False, share=float(share))
    assert told_next(queue, "new", Lane.INTERACTIVE, 1.0) == min(share, waiting) + 1


def test_tenants_that_are_not_told_one_by_one_still_count() -> None:
    """Three times as many as are shown, each of another share, one request each."""
    queue = FairQueue()
    for at in range(3 * TENANTS_SHOWN):
        queue.push(f"r{at}", lane=Lane.INTERACTIVE, tenant=f"t{at}", retry=False, share=1.0 + at % 3)
    assert len(queue.turns(Lane.INTERACTIVE)) == TENANTS_SHOWN + 1
    assert told_next(queue, "new", Lane.INTERACTIVE, 1.0) == 3 * TENANTS_SHOWN + 1


@given(REQUESTS, st.data())
def test_requests_taken_out_leave_the_order_of_the_others(
    requests: list[tuple[str, Lane, str, bool]], data: st.DataObject
) -> None:
    """Counts stay right, and taking out twice changes nothing."""
    queue = FairQueue()
    fill(queue, *requests)
    out = data.draw(st.sets(st.sampled_from([one[0] for one in requests]))) if requests else set()
    assert all(queue.remove(one) for one in out)
    assert not any(queue.remove(one) for one in out)
    for lane in Lane:
        left = [one for one in requests if one[1] is lane and one[0] not in out]
        assert queue.waiting(lane) == len(left)
    assert sorted(drain(queue)) == sorted(one[0] for one in requests if one[0] not in out)
    assert len(queue) == sum(queue.waiting(lane) for lane in Lane) == 0


def test_retries_go_first_then_interactive_with_a_share_for_batch() -> None:
    """One in eight, so that batch is slow and not starved."""
    queue = FairQueue()
    fill(queue, *((f"b{at}", Lane.BATCH, "t", False) for at in range(3)))
    fill(queue, *((f"i{at}", Lane.INTERACTIVE, "t", False) for at in range(20)))
    fill(queue, ("again", Lane.BATCH, "t", True))
    served = drain(queue)
    assert served[0] == "again"
    assert [at for at, one in enumerate(served) if one[0] == "b"] == [BATCH_SHARE, 2 * BATCH_SHARE, 23]


def test_tenants_take_turns() -> None:
    """However many one of them sends."""
    queue = FairQueue()
    fill(queue, *((f"a{at}", Lane.INTERACTIVE, "a", False) for at in range(3)))
    fill(queue, ("b0", Lane.INTERACTIVE, "b", False), ("c0", Lane.INTERACTIVE, "c", False))
    assert drain(queue) == ["a0", "b0", "c0", "a1", "a2"]


def test_tenants_share_weighs_its_turn() -> None:
    """Three in a row to one of everybody else's; less than one is one."""
    queue = FairQueue()
    for at in range(5):
        queue.push(f"a{at}", lane=Lane.INTERACTIVE, tenant="a", retry=False, share=3.0)
        queue.push(f"b{at}", lane=Lane.INTERACTIVE, tenant="b", retry=False, share=0.2)
    assert drain(queue) == ["a0", "a1", "a2", "b0", "a3", "a4", "b1", "b2", "b3", "b4"]


def test_request_that_is_not_ready_holds_back_its_tenant_only() -> None:
    """Its order is kept; the others are served."""
    queue = FairQueue()
    fill(queue, *((f"a{at}", Lane.INTERACTIVE, "a", False) for at in range(2)))
    fill(queue, ("b0", Lane.INTERACTIVE, "b", False), ("x0", Lane.BATCH, "x", False))
    assert queue.pop(lambda one: one != "a0") == "b0"
    assert queue.pop(lambda one: one[0] != "a") == "x0"
    assert queue.pop(lambda one: one == "a1") is None
    assert drain(queue) == ["a0", "a1"]
