"""When a new dispatcher knows what runs.

After a takeover nothing is assigned and nothing expires until each replica that the log
knows has either beaten with its inbox read up to the takeover, or stayed silent: then
what runs is known, and nothing is started twice.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from schemas.inference import ReplicaBeat
from services.inference.domain.replicas import Fleet


@dataclass
class Takeover:
    """A takeover under way, or concluded.

    `barrier` maps an inbox partition to its end when the takeover began, at `began_s`
    on the monotonic clock.
    """

    barrier: Mapping[int, int]
    began_s: float
    under_way: bool = field(default=True, init=False)
    lanes_read: bool = field(default=True, init=False)
    """Whether the lanes were read to where the predecessor may have read them."""

    def note_lanes(self, *, read: bool) -> None:
        """Says whether the lanes were read that far."""
        self.lanes_read = read

    def has_caught_up(self, beat: ReplicaBeat, *, live: bool) -> bool:
        """Whether this heartbeat tells all that its replica was given before."""
        return live and (not self.under_way or beat.inbox_position >= self.barrier.get(beat.inbox, 0))

    def conclude(self, fleet: Fleet, now_s: float, listen_s: float) -> None:
        """Ends it once `listen_s` have passed and every replica was heard of."""
        if self.under_way and now_s - self.began_s >= listen_s and not fleet.unconfirmed:
            self.under_way = False
