"""What gateways tell each other."""

from hypothesis import given
from hypothesis import strategies as st

from schemas.events.gateways.limits import MAX_NAMES, LimitShares
from services.gateway.limits.peer_usage import DEAD_AFTER_S, LEASE_S, PeerUsage


def told(gateway_id: str = "g2", incarnation: str = "g2/1", **fields: object) -> LimitShares:
    """Another gateway's record."""
    return LimitShares(gateway_id=gateway_id, incarnation=incarnation, **fields)  # type: ignore[arg-type]


def test_amounts_of_all_live_gateways_add_up() -> None:
    """As each stands now; a name that one does not hold counts nothing."""
    shares = PeerUsage("g1", "g1/1")
    shares.set("a", 100.0)
    shares.apply(told(held={"a": 2.0, "b": 1.0}), 10.0, 1)
    shares.apply(told("g3", "g3/1", held={"a": 5.0}), 10.5, 2)
    assert (shares.others("a"), shares.others("b"), shares.others("c")) == (7.0, 1.0, 0.0)
    shares.apply(told(held={"a": 0.0}), 11.0, 3)
    assert (shares.others("a"), shares.others("b"), shares.live) == (5.0, 1.0, 2)


def test_gateway_that_is_silent_while_others_are_heard_counts_no_more() -> None:
    """This gateway's own records tell that the bus is there."""
    shares = PeerUsage("g1", "g1/1")
    shares.apply(told(held={"a": 2.0}), 10.0, 4)
    own = shares.take(0.0)
    shares.apply(own, 10.0 + DEAD_AFTER_S, 5)
    assert shares.others("a") == 2.0
    shares.apply(own, 10.1 + DEAD_AFTER_S, 6)
    assert (shares.others("a"), shares.live) == (0.0, 0)
    shares.apply(told(), 20.0, 7)
    assert shares.others("a") == 2.0


def test_silent_bus_makes_no_gateway_dead() -> None:
    """Nobody is heard, so nobody's reservations are forgotten."""
    shares = PeerUsage("g1", "g1/1")
    shares.apply(told(held={"a": 2.0}), 10.0, 8)
    shares.take(500.0)
    assert shares.others("a") == 2.0


def test_restarted_gateway_holds_nothing_of_its_former_life() -> None:
    """Another incarnation begins with nothing, and so does this gateway's own."""
    shares = PeerUsage("g1", "g1/2")
    shares.apply(told(held={"a": 2.0}), 10.0, 9)
    shares.apply(told(incarnation="g2/2"), 10.1, 10)
    assert shares.others("a") == 0.0
    used = shares.apply(told("g1", "g1/1", held={"a": 3.0}, used={"a": 6.0}), 10.2, 11)
    assert (used, shares.others("a")) == ({"a": 6.0}, 0.0)


def test_stopping_gateway_holds_nothing_at_once() -> None:
    """Its last record says so, and carries what was used."""
    leaving, staying = PeerUsage("g2", "g2/1"), PeerUsage("g1", "g1/1")
    leaving.set("a", 4.0)
    staying.apply(leaving.take(0.0), 10.0, 12)
    assert staying.others("a") == 4.0
    leaving.use("b", 3.0)
    assert staying.apply(leaving.final_record(), 10.1, 13) == {"b": 3.0}
    assert (staying.others("a"), staying.live) == (0.0, 0)


def test_own_use_is_not_counted_again() -> None:
    """A gateway reads its own records, too."""
    shares = PeerUsage("g1", "g1/1")
    shares.use("a", 6.0)
    assert shares.apply(shares.take(0.0), 1.0, 14) == {}


def test_record_tells_only_what_changed_and_the_rest_from_time_to_time() -> None:
    """Bounded, and complete within twenty seconds for who comes later."""
    shares = PeerUsage("g1", "g1/1")
    shares.set("a", 1.0)
    shares.set("b", 2.0)
    assert shares.take(0.0).held == {"a": 1.0, "b": 2.0}
    shares.set("b", 3.0)
    assert shares.take(5.0).held == {"b": 3.0}
    assert shares.take(21.0).held == {"a": 1.0}
    assert shares.take(26.0).held == {"b": 3.0}
    shares.set("b", 0.0)
    assert shares.take(27.0).held == {"b": 0.0}
    assert shares.take(60.0).held == {"a": 1.0}


def test_record_that_did_not_arrive_is_told_with_the_next() -> None:
    """Neither a use nor an amount is lost."""
    shares = PeerUsage("g1", "g1/1")
    shares.set("a", 1.0)
    shares.use("u", 2.0)
    lost = shares.take(0.0)
    shares.use("u", 3.0)
    shares.set("a", 4.0)
    shares.requeue(lost)
    again = shares.take(1.0)
    assert (again.held, again.used) == ({"a": 4.0}, {"u": 5.0})


@given(
    steps=st.lists(
        st.tuples(st.sampled_from(["hold", "use", "tell", "lose"]), st.integers(0, 5), st.integers(0, 9)),
        max_size=60,
    )
)
def test_listener_that_hears_all_comes_to_the_same_sums(steps: list[tuple[str, int, int]]) -> None:
    """Whatever is lost on the way to the bus is told again."""
    teller, listener = PeerUsage("g1", "g1/1"), PeerUsage("g2", "g2/1")
    held, used, heard, now_s = dict[str, float](), dict[str, float](), dict[str, float](), 0.0

    def tell() -> None:
        for name, seconds in listener.apply(teller.take(now_s), now_s, 15).items():
            heard[name] = heard.get(name, 0.0) + seconds

    for what, number, amount in steps:
        now_s += 1.0
        name = f"n{number}"
        if what == "hold":
            held[name] = float(amount)
            teller.set(name, float(amount))
        elif what == "use":
            used[name] = used.get(name, 0.0) + amount
            teller.use(name, float(amount))
        elif what == "tell":
            tell()
        else:
            teller.requeue(teller.take(now_s))
    tell()
    assert {name: listener.others(name) for name in held} == held
    assert heard == used


def test_thousands_of_names_come_in_several_records() -> None:
    """One record is bounded; the rest follows."""
    teller, listener = PeerUsage("g1", "g1/1"), PeerUsage("g2", "g2/1")
    for number in range(2 * MAX_NAMES + 1):
        teller.set(f"n{number}", 1.0)
    sizes = []
    while teller.has_news:
        record = teller.take(0.0)
        sizes.append(len(record.held))
        listener.apply(record, 0.0, 16)
    assert sizes == [MAX_NAMES, MAX_NAMES, 1]
    assert all(listener.others(f"n{number}") == 1.0 for number in range(2 * MAX_NAMES + 1))


def test_peer_with_too_many_names_is_cut_short_and_counted() -> None:
    """Whoever writes to the bus cannot fill this gateway's memory."""
    shares = PeerUsage("g1", "g1/1")
    for batch in range(70):
        shares.apply(told(held={f"{batch}-{n}": 1.0 for n in range(1000)}), float(batch), 17)
    assert shares.passed_over == 70_000 - 65_536


def test_others_are_not_known_before_they_have_heard_of_this_one() -> None:
    """They tell it; that its own record came back does not, nor a former life's."""
    shares = PeerUsage("g1", "g1/2")
    shares.apply(told(serial=1, read_to=3), 10.0, 4)
    shares.apply(told("g1", "g1/1"), 10.0, 5)
    assert shares.peers(10.1) is None
    shares.apply(shares.take(11.0), 11.5, 6)
    assert shares.peers(11.6) is None
    shares.apply(told(serial=2, read_to=5), 11.7, 7)
    assert shares.peers(11.7) is None
    shares.apply(told(serial=3, read_to=6), 11.8, 8)
    assert shares.peers(11.8) == shares.peers(11.0 + LEASE_S - 0.1) == 1
    assert shares.peers(11.0 + LEASE_S) is None


def test_gateway_that_did_not_hear_of_itself_for_long_is_heard_of_anew() -> None:
    """The others may have taken it for dead meanwhile, and forgotten what it holds."""
    shares = PeerUsage("g1", "g1/1")
    shares.set("a", 2.0)
    shares.apply(shares.take(10.0), 10.1, 1)
    shares.apply(told(serial=1, read_to=1), 10.2, 2)
    assert (shares.peers(10.3), shares.known_serial) == (1, 1)
    assert shares.take(10.4).held == {"a": 2.0}
    late = shares.take(11.0)
    assert not late.held
    shares.apply(late, 12.4, 3)
    assert shares.peers(12.5) is None
    assert shares.take(12.5).held == {"a": 2.0}
    shares.apply(told(serial=2, read_to=3), 12.6, 4)
    assert shares.peers(12.6) == 1


def test_what_all_others_have_read_is_known() -> None:
    """Of the slowest one; one that tells nothing of the kind is not waited for, nor one
    whose record does not tell all that it holds.
    """
    shares = PeerUsage("g1", "g1/1")
    shares.set("a", 2.0)
    assert shares.next_serial == 1
    shares.apply(shares.take(0.0), 0.1, 1)
    assert shares.known_serial == 1
    shares.apply(told(serial=1), 0.2, 2)
    shares.apply(told("g3", "g3/1", serial=1, read_to=1), 0.2, 3)
    shares.apply(told("old", "old/1"), 0.2, 4)
    shares.apply(shares.take(0.2), 0.3, 5)
    shares.apply(told("g3", "g3/1", serial=2, read_to=5), 0.4, 6)
    assert shares.known_serial == 1
    shares.apply(told(serial=2), 0.4, 7)
    assert shares.known_serial == 1
    shares.apply(told(serial=3, read_to=6), 0.4, 8)
    assert shares.known_serial == 2


def test_record_that_leaves_something_for_the_next_acknowledges_nothing() -> None:
    """Whoever relies on it would believe to know all that is held."""
    shares = PeerUsage("g1", "g1/1")
    shares.apply(told(serial=1, read_to=-1), 0.0, 7)
    for number in range(MAX_NAMES + 1):
        shares.set(f"n{number}", 1.0)
    assert [shares.take(0.0).read_to for _ in range(2)] == [None, 7]


def test_ends_are_counted_once_all_live_gateways_say_so() -> None:
    """Unknown while one does not count any."""
    shares = PeerUsage("g1", "g1/1")
    assert shares.have_counted(0, 5) is True
    shares.apply(told(serial=1, ends_read={0: 6, 1: 1}), 10.0, 1)
    assert (shares.have_counted(0, 5), shares.have_counted(0, 6), shares.have_counted(2, 0)) == (
        True,
        False,
        False,
    )
    shares.apply(told("g3", "g3/1", serial=1), 10.0, 2)
    assert shares.have_counted(0, 5) is None


def test_silent_bus_makes_nobody_dead_when_it_comes_back() -> None:
    """What one gateway wrote last is read before what the other did."""
    shares = PeerUsage("g1", "g1/1")
    shares.resume(10.0)
    shares.apply(told(held={"a": 2.0}), 10.0, 1)
    shares.resume(20.0)
    shares.apply(told("g3", "g3/1"), 20.0, 2)
    assert (shares.others("a"), shares.live) == (2.0, 2)
    for second in range(21, 25):
        shares.resume(float(second))
        shares.apply(told("g3", "g3/1"), float(second), second)
    assert (shares.others("a"), shares.live) == (0.0, 1)


def test_answer_is_owed_to_whom_waits_for_it_and_to_whom_is_new() -> None:
    """Once; what is merely held waits for the next round, and then is acknowledged."""
    shares, other = PeerUsage("g1", "g1/1"), PeerUsage("g2", "g2/1")
    other.wants_answer = True
    for number, owed in enumerate([True, False, False]):
        shares.apply(other.take(0.0), 0.0, number)
        assert (shares.owes_answer, shares.has_news) == (owed, owed)
        shares.take(0.0)
    other.set("a", 1.0)
    shares.apply(other.take(0.0), 0.0, 4)
    assert (shares.owes_answer, shares.has_news) == (False, True)
    assert not shares.take(0.0).answer_soon
    assert not shares.has_news


def test_own_names_are_bounded_and_those_passed_over_counted() -> None:
    """Held or changed: what was let go makes room once it is told."""
    shares = PeerUsage("g1", "g1/1")
    for number in range(70_000):
        shares.set(f"n{number}", 1.0)
    assert (shares.passed_over, shares.held("n1"), shares.held("n69999")) == (70_000 - 65_536, 1.0, 0.0)
    shares.set("n69999", 0.0)
    shares.set("n1", 2.0)
    assert shares.held("n1") == 2.0
    for number in range(65_536):
        shares.set(f"n{number}", 0.0)
    shares.set("late", 1.0)
    assert shares.held("late") == 0.0
    while shares.has_news:
        shares.take(0.0)
    shares.set("late", 1.0)
    assert (shares.passed_over, shares.held("late")) == (70_000 - 65_536 + 1, 1.0)
