"""What a dispatcher knows of the replicas: who lives, what each holds, who has a free
slot.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

from schemas.inference import ReplicaBeat

AttemptKey = tuple[str, int]
"""request_id and attempt."""


@dataclass
class Replica:
    """One replica.

    `assigned` maps what it holds to the monotonic second of its assignment;
    `generating` maps those of them that have generated something to when that was first
    heard, `suspects` are those that a replica may have died of before.
    """

    replica_id: str
    inbox: int
    slots: int
    beat_s: float
    confirmed: bool
    draining: bool = False
    assigned: dict[AttemptKey, float] = field(default_factory=dict)
    generating: dict[AttemptKey, float] = field(default_factory=dict)
    suspects: set[AttemptKey] = field(default_factory=set)
    unknown: dict[AttemptKey, float] = field(default_factory=dict)
    """What it runs of requests that are not known, and since when."""

    def take(self, key: AttemptKey, now_s: float, *, suspect: bool) -> None:
        """It was given an attempt."""
        self.assigned[key] = now_s
        if suspect:
            self.suspects.add(key)

    def note_generating(self, key: AttemptKey, now_s: float) -> None:
        """An attempt has generated something."""
        self.generating.setdefault(key, now_s)

    def release(self, key: AttemptKey) -> bool:
        """Frees a slot; False if it did not hold that attempt."""
        self.generating.pop(key, None)
        self.suspects.discard(key)
        return self.assigned.pop(key, None) is not None


class Fleet:
    """A model's replicas as their heartbeats show them."""

    def __init__(self) -> None:
        self._replicas: dict[str, Replica] = {}

    def beat(self, beat: ReplicaBeat, *, now_s: float, confirmed: bool) -> Replica:
        """Notes a heartbeat; an unknown replica joins."""
        replica = self._replicas.get(beat.replica_id)
        if replica is None:
            replica = self._replicas[beat.replica_id] = Replica(
                beat.replica_id, beat.inbox, beat.slots, now_s, confirmed
            )
        replica.beat_s, replica.slots, replica.draining = now_s, beat.slots, beat.draining
        replica.confirmed = replica.confirmed or confirmed
        return replica

    def get(self, replica_id: str) -> Replica | None:
        """A living replica."""
        return self._replicas.get(replica_id)

    def release(self, replica_id: str, key: AttemptKey) -> bool:
        """Frees a slot; False if the replica did not hold that attempt."""
        replica = self._replicas.get(replica_id)
        return replica is not None and replica.release(key)

    def finish(self, replica_id: str, key: AttemptKey, now_s: float) -> float | None:
        """Frees a slot at an attempt's end, and tells how long it was held; None if the
        replica did not hold that attempt.
        """
        replica = self._replicas.get(replica_id)
        since_s = None if replica is None else replica.assigned.get(key)
        if replica is None or since_s is None:
            return None
        replica.release(key)
        return now_s - since_s

    def idlest(self, *, suspect: bool = False) -> Replica | None:
        """The replica to give the next request to: the least loaded with a free slot,
        for a suspect one without another.
        """
        best, lowest = None, 1.0
        for one in self._replicas.values():
            held = len(one.assigned)
            if held >= one.slots or one.draining or not one.confirmed or (suspect and one.suspects):
                continue
            load = held / one.slots
            if load < lowest:
                best, lowest = one, load
        return best

    def remove_silent(self, now_s: float, silence_s: float, unconfirmed_silence_s: float) -> list[Replica]:
        """Takes out those without a heartbeat for `silence_s`, or for
        `unconfirmed_silence_s` where a takeover has yet to hear of them.
        """
        dead = [
            one
            for one in self._replicas.values()
            if now_s - one.beat_s > (silence_s if one.confirmed else unconfirmed_silence_s)
        ]
        for one in dead:
            del self._replicas[one.replica_id]
        return dead

    def forgive(self, until_s: float, gap_s: float) -> None:
        """Nobody could be heard for `gap_s`: each replica's silence counts from
        `until_s` on at the earliest, and no attempt has aged meanwhile.
        """
        for one in self._replicas.values():
            one.beat_s = max(one.beat_s, until_s)
            one.assigned = {key: since_s + gap_s for key, since_s in one.assigned.items()}
            one.generating = {key: since_s + gap_s for key, since_s in one.generating.items()}

    @property
    def unconfirmed(self) -> Iterable[Replica]:
        """Those that have not been heard from since the takeover."""
        return [one for one in self._replicas.values() if not one.confirmed]

    @property
    def slots(self) -> int:
        """Slots of all living replicas."""
        return sum(one.slots for one in self._replicas.values())

    def running_s(self, now_s: float) -> list[float]:
        """For how long each attempt has held its slot."""
        return [now_s - since_s for one in self._replicas.values() for since_s in one.assigned.values()]

    @property
    def running(self) -> int:
        """Attempts that replicas hold."""
        return sum(len(one.assigned) for one in self._replicas.values())
