"""How a gateway's places are shared among tenants. Pure.

A tenant may take another place while it has fewer than `_AHEAD` times its weight times
what is free: the dynamic thresholds of shared buffers (Choudhury and Hahne, IEEE/ACM
Transactions on Networking 6(2), 1998). One tenant takes up to eight ninths of the
places; where several flood, each comes to hold its weighted part of them, and some
places stay free for whoever comes next. Nothing is taken back: a tenant that has more
than its part gets no more until it has less.
"""

from collections import OrderedDict
from dataclasses import dataclass, field

_AHEAD = 8.0
_ALONE_S = 60.0
_CAPACITY = 10_000


@dataclass
class TenantSlots:
    """Counts places by tenant. A tenant whom no other asked beside in the last minute
    may take them all.
    """

    places: int
    _taken: dict[str, int] = field(default_factory=dict, init=False)
    _total: int = field(default=0, init=False)
    _asked_s: "OrderedDict[str, float]" = field(default_factory=OrderedDict, init=False)

    @property
    def total(self) -> int:
        """How many places are taken."""
        return self._total

    def taken_by(self, tenant: str) -> int:
        """How many of them a tenant has."""
        return self._taken.get(tenant, 0)

    def has_room(self, count: int) -> bool:
        """Whether so many places are free."""
        return self._total + count <= self.places

    def may_take(self, tenant: str, now_s: float, *, weight: float, count: int) -> bool:
        """Whether a tenant may take so many more of the free places."""
        self._note(tenant, now_s)
        if len(self._asked_s) == 1:
            return True
        mine = self.taken_by(tenant)
        allowed = _AHEAD * weight * (self.places - self._total)
        return mine == 0 or mine + count <= allowed

    def take(self, tenant: str) -> "Slot":
        """Takes a place, until it is left."""
        self._total += 1
        self._taken[tenant] = self.taken_by(tenant) + 1
        return Slot(self, tenant)

    def leave(self, tenant: str) -> None:
        """A place is free again."""
        self._total -= 1
        left = self._taken[tenant] = self._taken[tenant] - 1
        if not left:
            del self._taken[tenant]

    def _note(self, tenant: str, now_s: float) -> None:
        """Who asked in the last minute, whether or not it got a place."""
        self._asked_s[tenant] = now_s
        self._asked_s.move_to_end(tenant)
        oldest, asked_s = next(iter(self._asked_s.items()))
        while now_s - asked_s > _ALONE_S or len(self._asked_s) > _CAPACITY:
            del self._asked_s[oldest]
            oldest, asked_s = next(iter(self._asked_s.items()))


@dataclass(slots=True, eq=False)
class Slot:
    """One place of a tenant's; leaving it again changes nothing."""

    room: TenantSlots
    tenant: str
    _is_left: bool = field(default=False, init=False)

    def leave(self) -> None:
        """It is free again."""
        if not self._is_left:
            self._is_left = True
            self.room.leave(self.tenant)
