"""Where to go on in a partition after any stop or crash. Pure.

Before an insert the recorder commits a `Plan` as the note beside the offset of the
block's first record: the block ends `through` here. The next owner of the partition
forms that very block again and inserts it with the same token. A block of which the
store has the rows but not the rollups, or the rollups but not the rows, is completed
so, and one that is whole is left as it is. (A materialized view may be written before
its source: chDB 26.9 does it.)
"""

from dataclasses import dataclass

from services.common.bus.coordinates import CommittedOffset

NOTHING = -1
"""The highest offset in the store where the store has no row of a partition; and
`through` where no block is under way.
"""


@dataclass(frozen=True, slots=True)
class Plan:
    """What was true and under way at a commit.

    `stored` is the partition's highest offset in the store, `stored_after` what it will
    be once the block is in.
    """

    stored: int
    through: int = NOTHING
    stored_after: int = NOTHING

    def note(self) -> str:
        """As a commit's metadata."""
        return f"{self.stored} {self.through} {self.stored_after}"

    @classmethod
    def parse(cls, note: str) -> "Plan | None":
        """A commit's metadata as a plan; None where it is not one."""
        try:
            stored, through, stored_after = map(int, note.split(" "))
        except ValueError:
            return None
        return cls(stored, through, stored_after)


@dataclass(frozen=True, slots=True)
class Resume:
    """Read from `offset`.

    Up to `replay_through`, where set, is one block, whose invalid records are already
    among the dead letters.
    """

    offset: int
    stored: int
    replay_through: int = NOTHING


def resume(stored: int, committed: CommittedOffset | None) -> Resume:
    """Where to go on, given the store's highest offset of the partition and the group's
    newest commit.

    The store decides. The commit adds two things: a block under way, and offsets after
    the store's highest that were dealt with without a row (dead letters). It counts
    only where the store still is as its note says; a store that was restored from a
    backup, for one, is behind it, and is filled again.
    """
    plan = Plan.parse(committed.note) if committed else None
    if committed is None or plan is None:
        return Resume(stored + 1, stored)
    if plan.through != NOTHING and stored in (plan.stored, plan.stored_after):
        return Resume(committed.offset, stored, plan.through)
    if plan.through == NOTHING and stored == plan.stored:
        return Resume(max(committed.offset, stored + 1), stored)
    return Resume(stored + 1, stored)
