"""Which request a replica died of.

A replica that dies takes all its attempts with it, and only one of them may be to
blame. An attempt is *suspect* until it has been seen generating for half a second, and
where it was not given to a replica that must have been dead already: a death is only
noticed a second later. Suspects are then kept apart, one a replica, so that the next
death tells which one it was; the others there have no part in it.

Replicas are also killed by other things than requests, and by requests that nobody
suspects yet. One more death is needed before a request is told that it kills replicas
where it had begun to generate and others there had not proven themselves, and one for
each other replica's death or absence of the bus in the last minute, two for a takeover,
up to three. The death of a replica that was silent before this dispatcher ever heard it
accuses nobody, nor does the death of one that was about to stop. One that beats again
clears whom it accused.
"""

from collections import deque
from collections.abc import Iterable

from services.inference.domain.dispatch.rules import DispatchRules
from services.inference.domain.dispatch.tracked import Tracked
from services.inference.domain.replicas import AttemptKey, Replica

_LATE_BEAT_S = 0.1
_DEATHS = 64
_MOST_DOUBTS = 3
_NOBODY = ""


class Suspects:
    """Deaths of the last minute, and who is accused of them."""

    def __init__(self, rules: DispatchRules) -> None:
        self._rules = rules
        self._deaths: deque[tuple[float, str]] = deque(maxlen=_DEATHS)

    def note_disturbance(self, now_s: float, *, deaths: int = 1) -> None:
        """Something else than a request ended processes or kept them from being heard; it
        counts for so many deaths.
        """
        if (now_s, _NOBODY) not in self._deaths:
            self._deaths.extend([(now_s, _NOBODY)] * deaths)

    def of(self, dead: Replica) -> set[AttemptKey]:
        """The attempts that the replica may have died of."""
        if dead.draining or not dead.confirmed:
            return set()
        last_s = dead.beat_s + self._rules.beat_s + _LATE_BEAT_S
        return {
            key
            for key, since_s in dead.assigned.items()
            if since_s <= last_s and not self.is_cleared(dead, key)
        }

    def is_cleared(self, replica: Replica, key: AttemptKey) -> bool:
        """Whether an attempt has generated for long enough on this replica."""
        since_s = replica.generating.get(key)
        return since_s is not None and replica.beat_s - since_s >= self._rules.cleared_after_s

    def accuse(self, dead: Replica, aboard: Iterable[Tracked], now_s: float) -> None:
        """A replica died: counts it against those that were suspected before, else
        against all that it may have died of.
        """
        if not dead.draining:
            self._deaths.append((now_s, dead.replica_id))
        suspects = list(aboard)
        for tracked in [one for one in suspects if one.kills] or suspects:
            tracked.killed = (*tracked.killed, dead.replica_id)
            tracked.doubtful = len(suspects) > 1 and tracked.key in dead.generating

    def is_convicted(self, tracked: Tracked, now_s: float) -> bool:
        """Whether it is tried no more."""
        doubts = min(_MOST_DOUBTS, tracked.doubtful + self._disturbances(tracked, now_s))
        return tracked.kills >= self._rules.max_kills + doubts

    def acquit(self, tracked: Iterable[Tracked], replica_id: str) -> None:
        """A replica that was taken for dead beats."""
        for one in tracked:
            if replica_id in one.killed:
                one.killed = tuple(each for each in one.killed if each != replica_id)

    def _disturbances(self, tracked: Tracked, now_s: float) -> int:
        """How much happened in the last minute in which it had no part."""
        since_s = now_s - self._rules.disturbance_s
        return sum(at_s >= since_s and one not in tracked.killed for at_s, one in self._deaths)
