"""Finds poison requests: those that kill their replicas.

A replica that dies takes all its attempts with it, and only one of them may have killed
it. An attempt is *suspect* until it has been seen generating for half a second, and
where it was not given to a replica that must have been dead already: a death is only
noticed a second later. Suspects are then kept apart, one a replica, so that the next
death tells which one it was; it is not counted against the other attempts there.

Replicas die for other reasons, too, and of requests that are no suspects yet. A request
is poison at `max_kills` deaths, and as many more as these add up to, three at most:

| beside the request's own deaths | more deaths needed |
|-|-|
| its last death is ambiguous: it generated already, and there were other suspects | 1 |
| another replica died in the last minute | 1 each |
| the bus was away in the last minute, or this process stood still | 1 each |
| a takeover in the last minute, before which deaths are not known | 2 |

The death of a replica that this dispatcher never heard, or that was about to stop, is
counted against no request. A replica that beats again clears its death.
"""

from collections import deque
from collections.abc import Iterable

from services.inference.domain.dispatch.rules import DispatchRules
from services.inference.domain.dispatch.tracked import Tracked
from services.inference.domain.replicas import AttemptKey, Replica

_LATE_BEAT_S = 0.1
_DEATHS = 64
_MAX_EXTRA_DEATHS = 3
_DISTURBANCE = ""


class PoisonRequests:
    """Deaths of the last minute, and the requests that they are counted against."""

    def __init__(self, rules: DispatchRules) -> None:
        self._rules = rules
        self._deaths: deque[tuple[float, str]] = deque(maxlen=_DEATHS)

    def note_disturbance(self, now_s: float, *, deaths: int = 1) -> None:
        """Something else than a request ended processes or kept them from being heard; it
        counts for so many deaths.
        """
        if (now_s, _DISTURBANCE) not in self._deaths:
            self._deaths.extend([(now_s, _DISTURBANCE)] * deaths)

    def suspects_of(self, dead: Replica) -> set[AttemptKey]:
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

    def record_death(self, dead: Replica, aboard: Iterable[Tracked], now_s: float) -> None:
        """A replica died: counts that against the attempts `aboard` that were suspect
        before, else against all of them.
        """
        if not dead.draining:
            self._deaths.append((now_s, dead.replica_id))
        suspects = list(aboard)
        for tracked in [one for one in suspects if one.kills] or suspects:
            ambiguous = len(suspects) > 1 and tracked.key in dead.generating
            tracked.count_death(dead.replica_id, ambiguous=ambiguous)

    def is_poison(self, tracked: Tracked, now_s: float) -> bool:
        """Whether a request has killed so many replicas that it is not tried again."""
        extra = min(_MAX_EXTRA_DEATHS, tracked.ambiguous_death + self._disturbances(tracked, now_s))
        return tracked.kills >= self._rules.max_kills + extra

    def clear_death(self, tracked: Iterable[Tracked], replica_id: str) -> None:
        """A replica that was taken for dead beats: it died of none of these."""
        for one in tracked:
            if replica_id in one.killed:
                one.clear_death(replica_id)

    def _disturbances(self, tracked: Tracked, now_s: float) -> int:
        """The deaths and disturbances of the last minute that are not its own."""
        since_s = now_s - self._rules.disturbance_s
        return sum(at_s >= since_s and one not in tracked.killed for at_s, one in self._deaths)
