"""Which claim holds a key, whatever order gateways write in."""

from hypothesis import given
from hypothesis import strategies as st

from schemas.events.gateways.idempotency import AnyKeyEvent, KeyClaimed, KeyReleased, KeySettled
from services.gateway.streams.idempotency.claims import KEPT_MS, Claims


def claimed(claim_id: str, *, digest: str = "d", replaces: str = "", tenant: str = "t") -> KeyClaimed:
    """A claim."""
    return KeyClaimed(
        digest=digest,
        body_digest="b",
        claim_id=claim_id,
        replaces=replaces,
        request_ids=(f"r-{claim_id}",),
        tenant=tenant,
    )


def settled(claim_id: str, answer_id: str = "0-a") -> KeySettled:
    """Its answer."""
    return KeySettled(digest="d", claim_id=claim_id, answer_id=answer_id)


def released(claim_id: str) -> KeyReleased:
    """Its release."""
    return KeyReleased(digest="d", claim_id=claim_id)


def holder(*events: tuple[AnyKeyEvent, int], now_ms: int = 0) -> str | None:
    """Which claim holds the key after these events."""
    claims = Claims(capacity=10)
    for event, at_ms in events:
        claims.take(event, at_ms)
    found = claims.find("d", now_ms)
    return found.claim_id if found else None


def test_first_claim_holds_until_released_or_a_day_passed() -> None:
    """A later one only then."""
    assert holder((claimed("a"), 0), (claimed("b"), 1)) == "a"
    assert holder((claimed("a"), 0), (released("a"), 1), (claimed("b"), 2)) == "b"
    assert holder((claimed("a"), 0), (released("b"), 1), (claimed("b"), 2)) == "a"
    assert holder((claimed("a"), 0), (claimed("b"), KEPT_MS), now_ms=KEPT_MS) == "b"
    assert holder((claimed("a"), 0), now_ms=KEPT_MS) is None


def test_an_answered_key_can_neither_be_replaced_nor_released() -> None:
    """Its answer is the one answer; one that was begun anew is another's."""
    assert holder((claimed("a"), 0), (settled("a"), 1), (claimed("b", replaces="a"), 2)) == "a"
    assert holder((claimed("a"), 0), (settled("a"), 1), (released("a"), 2)) == "a"
    assert holder((claimed("a"), 0), (claimed("b", replaces="a"), 1), (claimed("c", replaces="a"), 2)) == "b"
    claims = Claims(capacity=10)
    for event in (claimed("a"), settled("b"), settled("a", "0-x"), settled("a", "0-y")):
        claims.take(event, 5)
    found = claims.find("d", 5)
    assert found is not None
    assert (found.answer_id, found.answered_at_ms) == ("0-x", 5)


def test_beyond_the_capacity_the_oldest_are_forgotten_and_counted() -> None:
    """What ran out by itself is not counted."""
    claims = Claims(capacity=3)
    for number in range(5):
        claims.take(claimed("a", digest=str(number)), number)
    assert (len(claims), claims.forgotten) == (3, 2)
    assert claims.find("1", 5) is None
    claims.take(claimed("z", digest="z"), 5 + KEPT_MS)
    assert (len(claims), claims.forgotten) == (1, 2)


def test_a_tenants_flood_costs_no_other_tenant_its_keys() -> None:
    """The oldest of the tenant with most is forgotten; released ones take no room."""
    claims = Claims(capacity=10)
    claims.take(claimed("mine", digest="mine", tenant="small"), 0)
    for number in range(1000):
        claims.take(claimed("x", digest=f"x{number}", tenant="flood"), 1)
        claims.take(claimed("y", digest=f"y{number}", tenant="flood"), 1)
        claims.take(KeyReleased(digest=f"y{number}", claim_id="y"), 1)
    assert claims.find("mine", 1) is not None
    assert claims.find("x999", 1) is not None
    assert len(claims) <= 10


def test_key_that_is_claimed_again_and_again_takes_no_more_room() -> None:
    """What is remembered of former claims is bounded, though the key is held."""
    claims = Claims(capacity=10)
    claims.take(claimed("0"), 0)
    for number in range(1, 1000):
        claims.take(claimed(f"{number}", replaces=f"{number - 1}"), number)
    assert len(claims) == 1
    assert len(claims._by_age) <= 2 * claims.capacity + 1


@given(
    st.lists(
        st.one_of(
            st.builds(claimed, st.sampled_from("abc"), replaces=st.sampled_from(["", "a", "b"])),
            st.builds(settled, st.sampled_from("abc")),
            st.builds(released, st.sampled_from("abc")),
        ),
        max_size=12,
    )
)
def test_an_answer_once_given_stays(events: list[AnyKeyEvent]) -> None:
    """Within a day no order of events takes it away."""
    claims = Claims(capacity=10)
    answered = None
    for event in events:
        claims.take(event, 1)
        found = claims.find("d", 1)
        if answered is not None:
            assert found == answered
        elif found is not None and found.answered_at_ms is not None:
            answered = found
