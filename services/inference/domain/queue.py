"""Who is served next: lanes by weight, tenants in turn, retries first.

A tenant that sends a thousand requests waits behind its own: each turn takes one
request of each tenant. The batch lane gets one place in `BATCH_SHARE` while interactive
requests wait, so that it is slow, not starved.
"""

from collections import deque
from collections.abc import Iterator

from schemas.inference import Lane

BATCH_SHARE = 8


class _TenantTurns:
    """One lane: a queue a tenant, served in turn."""

    def __init__(self) -> None:
        self._queues: dict[str, deque[str]] = {}

    def push(self, tenant: str, request_id: str) -> None:
        self._queues.setdefault(tenant, deque()).append(request_id)

    def pop(self) -> str:
        tenant = next(iter(self._queues))
        queue = self._queues.pop(tenant)
        request_id = queue.popleft()
        if queue:
            self._queues[tenant] = queue  # to the end of the turn
        return request_id

    def remove(self, tenant: str, request_id: str) -> None:
        queue = self._queues[tenant]
        queue.remove(request_id)
        if not queue:
            del self._queues[tenant]

    def in_order(self) -> Iterator[str]:
        queues = [iter(queue) for queue in self._queues.values()]
        while queues:
            still = []
            for queue in queues:
                request_id = next(queue, None)
                if request_id is not None:
                    yield request_id
                    still.append(queue)
            queues = still

    def __bool__(self) -> bool:
        return bool(self._queues)


class FairQueue:
    """The waiting requests of one model."""

    def __init__(self) -> None:
        self._retries: deque[str] = deque()
        self._lanes = {Lane.INTERACTIVE: _TenantTurns(), Lane.BATCH: _TenantTurns()}
        self._where: dict[str, tuple[Lane, str, bool]] = {}
        self._interactive_run = 0

    def push(self, request_id: str, *, lane: Lane, tenant: str, retry: bool) -> None:
        """Adds a request; a retry goes before everything, since its client has been
        reading already.
        """
        self._where[request_id] = (lane, tenant, retry)
        if retry:
            self._retries.append(request_id)
        else:
            self._lanes[lane].push(tenant, request_id)

    def pop(self) -> str | None:
        """The request to serve next; None when none waits."""
        request_id = self._next()
        if request_id is not None:
            del self._where[request_id]
        return request_id

    def remove(self, request_id: str) -> bool:
        """Takes a request out; False if it does not wait."""
        found = self._where.pop(request_id, None)
        if found is None:
            return False
        lane, tenant, retry = found
        if retry:
            self._retries.remove(request_id)
        else:
            self._lanes[lane].remove(tenant, request_id)
        return True

    def in_order(self) -> list[str]:
        """Every waiting request in the order of service, should nothing else come."""
        interactive, batch = (
            list(self._lanes[Lane.INTERACTIVE].in_order()),
            list(self._lanes[Lane.BATCH].in_order()),
        )
        order, run = list(self._retries), self._interactive_run
        interactive.reverse()
        batch.reverse()
        while interactive or batch:
            if batch and (not interactive or run >= BATCH_SHARE - 1):
                order.append(batch.pop())
                run = 0
            else:
                order.append(interactive.pop())
                run += 1
        return order

    def waiting(self, lane: Lane) -> int:
        """How many wait in a lane, retries included."""
        return sum(1 for one, _, _ in self._where.values() if one is lane)

    def __len__(self) -> int:
        return len(self._where)

    def __contains__(self, request_id: object) -> bool:
        return request_id in self._where

    def _next(self) -> str | None:
        if self._retries:
            return self._retries.popleft()
        interactive, batch = self._lanes[Lane.INTERACTIVE], self._lanes[Lane.BATCH]
        if batch and (not interactive or self._interactive_run >= BATCH_SHARE - 1):
            self._interactive_run = 0
            return batch.pop()
        if interactive:
            self._interactive_run += 1
            return interactive.pop()
        return None
