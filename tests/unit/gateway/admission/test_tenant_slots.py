"""How places are shared among tenants."""

from hypothesis import given
from hypothesis import strategies as st

from services.gateway.streams.tenant_slots import TenantSlots


def fill(room: TenantSlots, tenant: str, now_s: float, weight: float = 1.0, count: int = 10_000) -> int:
    """A tenant takes all that it may, up to a count."""
    taken = 0
    while taken < count and room.has_room(1) and room.may_take(tenant, now_s, weight=weight, count=1):
        room.take(tenant)
        taken += 1
    return taken


def test_tenant_that_is_alone_takes_all_places() -> None:
    """Nobody waits, so nothing is kept free."""
    assert fill(TenantSlots(90), "a", 0.0) == 90


def test_flooding_tenant_leaves_a_place_for_who_comes_next() -> None:
    """Also where it had taken all before: whatever becomes free is the other's, down to
    the flooding tenant's part.
    """
    room = TenantSlots(90)
    fill(room, "flood", 0.0)
    assert not room.has_room(1)
    room.may_take("b", 1.0, weight=1.0, count=1)  # it is refused, but it was there
    got = 0
    for step in range(60):
        room.leave("flood")
        assert fill(room, "flood", 1.0 + step / 100) == 0 or room.taken_by("flood") <= 48
        got += fill(room, "b", 1.0 + step / 100)
    assert got >= 40
    assert 40 <= room.taken_by("flood") <= 48


def test_tenants_come_to_hold_their_weighted_parts() -> None:
    """Twice the share, twice the places, with some left for a third."""
    room = TenantSlots(1000)
    for step in range(3000):
        fill(room, "a", step / 1000, count=3)
        fill(room, "b", step / 1000, 2.0, count=3)
        for tenant in ("a", "b"):  # requests end, and more come than end
            room.leave(tenant)
    assert 1.9 < room.taken_by("b") / room.taken_by("a") < 2.1
    assert 20 < 1000 - room.total < 60
    assert fill(room, "late", 3.0, count=20) == 20


def test_tenant_that_left_a_minute_ago_holds_nobody_back() -> None:
    """Whoever is alone again may take them all."""
    room = TenantSlots(90)
    room.may_take("b", 0.0, weight=1.0, count=1)
    assert fill(room, "a", 1.0) == 80
    assert fill(room, "a", 61.5) == 10


def test_names_of_many_tenants_cost_no_memory_for_ever() -> None:
    """So many are remembered, and those without a place for a minute."""
    room = TenantSlots(5)
    for number in range(20_000):
        room.may_take(f"t{number}", 0.0, weight=1.0, count=1)
    assert len(room._asked_s) == 10_000
    room.may_take("t", 100.0, weight=1.0, count=1)
    assert len(room._asked_s) == 1


@given(
    steps=st.lists(st.tuples(st.integers(0, 4), st.booleans(), st.integers(1, 3)), max_size=200),
    places=st.integers(1, 40),
    weights=st.lists(st.floats(0.01, 100), min_size=5, max_size=5),
)
def test_places_are_never_oversold_and_a_tenant_without_any_gets_one(
    steps: list[tuple[int, bool, int]], places: int, weights: list[float]
) -> None:
    """Whatever the weights, in whatever order they come and go."""
    room, held = TenantSlots(places), [0] * 5
    for number, comes, count in steps:
        tenant = f"t{number}"
        if comes:
            may = room.may_take(tenant, 0.0, weight=weights[number], count=count)
            assert may or held[number]
            if may and room.has_room(count):
                for _ in range(count):
                    room.take(tenant)
                held[number] += count
        elif held[number]:
            room.leave(tenant)
            held[number] -= 1
        assert room.total == sum(held) <= places
        assert [room.taken_by(f"t{one}") for one in range(5)] == held
