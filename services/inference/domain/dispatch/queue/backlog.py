"""Which waiting requests are held in memory, and which are left in the log.

A lane is read on while a tenant's thousands wait: of each tenant so many records are
held, the others are *deferred*. Their records are let go and read again, in the order
of each tenant, when there is room: so every tenant's first request is at hand, however
many others came before it.
"""

from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, field

from services.inference.domain.dispatch.rules import ReadAhead

_BATCH = 100


@dataclass
class _TenantLoad:
    held: int = 0
    deferred: "OrderedDict[int, int]" = field(default_factory=OrderedDict)
    """Offset and size of each record that is to be read again."""


@dataclass
class LaneBacklog:
    """The waiting requests of one lane."""

    limits: ReadAhead
    held: int = 0
    held_bytes: int = 0
    deferred_bytes: int = 0
    _ids: dict[int, tuple[str, int]] = field(default_factory=dict)
    """The deferred: request and what it takes in memory, by offset."""
    _tenants: "OrderedDict[str, _TenantLoad]" = field(default_factory=OrderedDict)
    """Those whose records were held last are last."""
    _demanded: dict[int, None] = field(default_factory=dict)

    @property
    def deferred(self) -> int:
        """How many are left in the log."""
        return len(self._ids)

    @property
    def knows_enough(self) -> bool:
        """Whether no more may be deferred: what is known of those that are takes its
        share of memory.
        """
        return self.deferred_bytes >= self.limits.deferred_bytes

    def admits(self, tenant: str, size_bytes: int) -> bool:
        """Whether a request that was just read may be held.

        A tenant's order is kept: nothing is held while an earlier one is deferred.
        """
        load = self._tenants.get(tenant)
        if load is not None and (load.deferred or load.held >= self.limits.per_tenant):
            return False
        return self._has_room(size_bytes)

    def hold(self, tenant: str, size_bytes: int) -> None:
        """A waiting request's record is held."""
        load = self._tenants.get(tenant)
        if load is None:
            load = self._tenants[tenant] = _TenantLoad()
        load.held += 1
        self._tenants.move_to_end(tenant)
        self.held += 1
        self.held_bytes += size_bytes

    def release(self, tenant: str, size_bytes: int) -> None:
        """It waits no more."""
        load = self._tenants[tenant]
        load.held -= 1
        self.held -= 1
        self.held_bytes -= size_bytes
        if not load.held:
            self._tidy(tenant, load)

    def defer(
        self, tenant: str, offset: int, size_bytes: int, *, request_id: str = "", known_bytes: int = 0
    ) -> None:
        """A waiting request's record is left in the log; `known_bytes` is what the request
        takes in memory all the same.
        """
        self._tenants.setdefault(tenant, _TenantLoad()).deferred[offset] = size_bytes
        self._ids[offset] = request_id, known_bytes
        self.deferred_bytes += known_bytes

    def restore(self, tenant: str, offset: int) -> bool:
        """A deferred record is at hand again; False if it was not deferred."""
        self._demanded.pop(offset, None)
        load = self._tenants.get(tenant)
        if load is None or load.deferred.pop(offset, None) is None:
            return False
        self.deferred_bytes -= self._ids.pop(offset)[1]
        self._tidy(tenant, load)
        return True

    def request_at(self, offset: int) -> str | None:
        """Whose record is deferred there."""
        found = self._ids.get(offset)
        return None if found is None else found[0]

    def demand(self, offset: int) -> None:
        """A deferred record is needed at once: its request has ended, say."""
        self._demanded[offset] = None

    def wanted(self) -> list[int]:
        """The records to read now, in the log's order: those that are needed at once,
        then each tenant's next ones, as there is room.
        """
        if not self._ids:
            return []
        wanted = dict.fromkeys(list(self._demanded)[:_BATCH])
        held, held_bytes = self.held, self.held_bytes
        for offset, size_bytes in self._next_of_each():
            if held >= self.limits.per_lane or (held_bytes + size_bytes > self.limits.lane_bytes and held):
                break
            if len(wanted) >= _BATCH:
                break
            wanted[offset] = None
            held += 1
            held_bytes += size_bytes
        return sorted(wanted)

    def _next_of_each(self) -> Iterator[tuple[int, int]]:
        """Deferred records that may be held: the first of each tenant, those with the
        fewest held before, then the second of each.
        """
        turns = sorted(
            (
                (load.held, iter(load.deferred.items()))
                for load in self._tenants.values()
                if load.deferred and load.held < self._refill_below
            ),
            key=lambda turn: turn[0],
        )
        while turns:
            still = []
            for held, records in turns:
                record = next(records, None)
                if record is not None:
                    yield record
                    if held + 1 < self.limits.per_tenant:
                        still.append((held + 1, records))
            turns = still

    @property
    def _refill_below(self) -> int:
        """A tenant's records are read again in batches, once half of what may be held
        is used up.
        """
        return max(1, self.limits.per_tenant // 2)

    def _has_room(self, size_bytes: int) -> bool:
        return not self.held or (
            self.held < self.limits.per_lane and self.held_bytes + size_bytes <= self.limits.lane_bytes
        )

    def _tidy(self, tenant: str, load: _TenantLoad) -> None:
        if not load.held and not load.deferred:
            del self._tenants[tenant]
