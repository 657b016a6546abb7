"""What a dispatcher knows of its replicas."""

from schemas.inference import ReplicaBeat
from services.inference.domain.replicas import Fleet


def beat(name: str, *, slots: int = 2, draining: bool = False) -> ReplicaBeat:
    """A heartbeat."""
    return ReplicaBeat(
        replica_id=name, model="m", host="h", pid=1, inbox=0, inbox_position=0, slots=slots, draining=draining
    )


def fleet_of(*beats: ReplicaBeat, now_s: float = 0.0, confirmed: bool = True) -> Fleet:
    """A fleet that has beaten."""
    fleet = Fleet()
    for one in beats:
        fleet.beat(one, now_s=now_s, confirmed=confirmed)
    return fleet


def test_idlest_is_the_one_with_the_smallest_share_of_its_slots_in_use() -> None:
    """Two of four is less than one of one."""
    fleet = fleet_of(beat("small", slots=1), beat("large", slots=4))
    small, large = fleet.get("small"), fleet.get("large")
    assert small is not None
    assert large is not None
    large.take(("a", 1), 0, suspect=False)
    large.take(("b", 1), 0, suspect=False)
    assert fleet.idlest() is small
    small.take(("c", 1), 0, suspect=False)
    assert fleet.idlest() is large
    assert (fleet.slots, fleet.running) == (5, 3)


def test_idlest_is_none_where_all_are_full_draining_or_unheard_of() -> None:
    """Nothing is given to a replica that will not take it."""
    fleet = fleet_of(beat("draining", draining=True))
    fleet.beat(beat("unheard"), now_s=0, confirmed=False)
    assert fleet.idlest() is None
    assert [one.replica_id for one in fleet.unconfirmed] == ["unheard"]
    fleet.beat(beat("unheard"), now_s=1, confirmed=True)
    assert fleet.idlest() is fleet.get("unheard")


def test_idlest_for_a_suspect_has_no_other() -> None:
    """Until that one has generated something, or is gone."""
    fleet = fleet_of(beat("one"))
    one = fleet.get("one")
    assert one is not None
    one.take(("a", 2), 0, suspect=True)
    assert fleet.idlest(suspect=True) is None
    assert fleet.idlest() is one
    one.suspects.discard(("a", 2))
    one.note_generating(("a", 2), 1.0)
    assert fleet.idlest(suspect=True) is one
    assert one.release(("a", 2))
    assert not one.release(("a", 2))
    assert not one.generating


def test_remove_silent_takes_out_the_silent_and_gives_the_unheard_more_time() -> None:
    """After a takeover replicas reconnect at their own pace."""
    fleet = fleet_of(beat("old"), now_s=0)
    fleet.beat(beat("unheard"), now_s=0, confirmed=False)
    fleet.beat(beat("live"), now_s=2, confirmed=True)
    assert [one.replica_id for one in fleet.remove_silent(2, 1, 3)] == ["old"]
    assert [one.replica_id for one in fleet.remove_silent(3.5, 2, 3)] == ["unheard"]
    assert fleet.get("live") is not None


def test_forgive_makes_a_gap_nobodys_silence() -> None:
    """Neither replicas nor their attempts have aged."""
    fleet = fleet_of(beat("one"))
    one = fleet.get("one")
    assert one is not None
    one.take(("a", 1), 1.0, suspect=False)
    fleet.forgive(30.0, 25.0)
    assert fleet.remove_silent(30.5, 1, 1) == []
    assert one.assigned == {("a", 1): 26.0}


def test_release_of_what_nobody_holds_is_false() -> None:
    """A report may come twice, or late."""
    fleet = fleet_of(beat("one"))
    assert not fleet.release("one", ("a", 1))
    assert not fleet.release("gone", ("a", 1))
