"""Turns in a model's queue: how many requests a tenant is served in a row, and where its
next request would stand. Pure.

The dispatcher serves by it, and gateways tell their clients by it.
"""

from collections.abc import Sequence

from schemas.base import TenantTurn
from schemas.inference import Lane, QueueStatus

BATCH_SHARE = 8
"""The batch lane gets one place in so many while interactive requests wait."""
_MOST_IN_A_ROW = 100


def turn_length(share: float) -> int:
    """How many requests a tenant of this share is served in its turn."""
    return min(max(1, round(share)), _MOST_IN_A_ROW)


def position_of_next(queue: QueueStatus, *, tenant: str, lane: Lane, share: float) -> int:
    """The place, from 1 on, of a request that a tenant of this share would add now, if
    nothing else came.

    Exact for the tenants that the status names; the others count as one tenant, whose
    turn comes last.
    """
    ahead = _ahead_in_lane(queue.turns.get(lane, ()), tenant, turn_length(share))
    run = min(queue.interactive_run, BATCH_SHARE - 1)
    if lane is Lane.INTERACTIVE:
        others = min(_waiting(queue, Lane.BATCH), (run + ahead) // (BATCH_SHARE - 1))
    else:
        others = min(_waiting(queue, Lane.INTERACTIVE), (ahead + 1) * (BATCH_SHARE - 1) - run)
    return queue.retries + ahead + others + 1


def _ahead_in_lane(turns: Sequence[TenantTurn], tenant: str, share: int) -> int:
    """How many of its lane are served before a tenant's next request."""
    at = next((index for index, turn in enumerate(turns) if turn.tenant == tenant), len(turns))
    own, left = (turns[at].waiting, turns[at].left or share) if at < len(turns) else (0, share)
    turns_before = 0 if own < left else 1 + (own - left) // share
    return own + sum(
        _served(turn, turns_before + (index < at)) for index, turn in enumerate(turns) if index != at
    )


def _served(turn: TenantTurn, turns: int) -> int:
    """How many of a tenant are served in its next so many turns."""
    if turns == 0:
        return 0
    return min(turn.waiting, (turn.left or turn.share) + (turns - 1) * turn.share)


def _waiting(queue: QueueStatus, lane: Lane) -> int:
    return sum(turn.waiting for turn in queue.turns.get(lane, ()))
