"""Which request a replica died of.

A replica that dies takes all its attempts with it, and only one of them may be to
blame. An attempt is *suspect* where it had generated nothing yet, and was not given to a
replica that must have been dead already: a replica is only known to be dead a second
later. Suspects are then kept apart, one a replica, so that the next death tells which
one it was; the others there have no part in it. An attempt that generates is cleared.
"""

from collections.abc import Iterable

from services.inference.domain.dispatch.tracked import Tracked
from services.inference.domain.replicas import AttemptKey, Replica

_LATE_BEAT_S = 0.1


def suspects_of(dead: Replica, beat_s: float) -> set[AttemptKey]:
    """The attempts that the replica may have died of."""
    last_s = dead.beat_s + beat_s + _LATE_BEAT_S
    return {key for key, since_s in dead.assigned.items() if key not in dead.generating and since_s <= last_s}


def blame(suspects: Iterable[Tracked]) -> None:
    """Counts a death against those that may have caused it: against the one that was
    under suspicion before, else against all.
    """
    all_of_them = list(suspects)
    known = [one for one in all_of_them if one.kills]
    for tracked in known or all_of_them:
        tracked.kills += 1
