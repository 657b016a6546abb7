"""Who is served next: lanes by weight, tenants in turn, retries first.

A tenant that sends a thousand requests waits behind its own: each turn takes one
request of each tenant, or as many as its share says. The batch lane gets one place in
`BATCH_SHARE` while interactive requests wait, so that it is slow, not starved.
"""

from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator
from heapq import nlargest
from itertools import islice

from schemas.base import TenantTurn
from schemas.inference import Lane
from services.common.requests.fair_turns import BATCH_SHARE, turn_length

POSITIONS_SHOWN = 200
TENANTS_SHOWN = 100

Ready = Callable[[str], bool]


class _TenantTurns:
    """One lane: a queue a tenant, served in turn, each as often in a row as its share
    says.
    """

    def __init__(self) -> None:
        self._queues: OrderedDict[str, OrderedDict[str, None]] = OrderedDict()
        self._shares: dict[str, int] = {}
        self._turn: tuple[str, int] = "", 0
        """Whose turn it is, and how many of its requests it still takes."""

    def push(self, tenant: str, request_id: str, share: float) -> None:
        self._queues.setdefault(tenant, OrderedDict())[request_id] = None
        self._shares[tenant] = turn_length(share)

    def pop(self, ready: Ready) -> str | None:
        """The first request of the first tenant whose first is ready; that tenant goes
        to the end of the turn, once it had its share.
        """
        for tenant, queue in self._queues.items():
            request_id = next(iter(queue))
            if ready(request_id):
                left = self._left(tenant) - 1
                self._turn = tenant, left
                self.remove(tenant, request_id)
                if tenant in self._queues and not left:
                    self._queues.move_to_end(tenant)
                    self._turn = "", 0
                return request_id
        return None

    def remove(self, tenant: str, request_id: str) -> None:
        queue = self._queues[tenant]
        del queue[request_id]
        if not queue:
            del self._queues[tenant], self._shares[tenant]
            if self._turn[0] == tenant:
                self._turn = "", 0

    def told(self) -> tuple[TenantTurn, ...]:
        """The tenants with the most in the order of their turns, then the others as one."""
        shown = set(nlargest(TENANTS_SHOWN, self._queues, key=lambda tenant: len(self._queues[tenant])))
        whose, left = self._turn
        turns = [
            TenantTurn(
                tenant=tenant,
                waiting=len(queue),
                share=self._shares[tenant],
                left=left if tenant == whose else None,
            )
            for tenant, queue in self._queues.items()
            if tenant in shown
        ]
        others = [tenant for tenant in self._queues if tenant not in shown]
        if others:
            waiting = sum(len(self._queues[tenant]) for tenant in others)
            turns.append(TenantTurn(waiting=waiting, share=sum(self._shares[tenant] for tenant in others)))
        return tuple(turns)

    def in_order(self) -> Iterator[str]:
        turns = [(tenant, iter(queue), self._left(tenant)) for tenant, queue in self._queues.items()]
        while turns:
            still = []
            for tenant, queue, left in turns:
                served = list(islice(queue, left))
                yield from served
                if len(served) == left:
                    still.append((tenant, queue, self._shares[tenant]))
            turns = still

    def _left(self, tenant: str) -> int:
        whose, left = self._turn
        return left if whose == tenant else self._shares[tenant]

    def __bool__(self) -> bool:
        return bool(self._queues)


class FairQueue:
    """The waiting requests of one model."""

    def __init__(self) -> None:
        self._retries: OrderedDict[str, None] = OrderedDict()
        self._lanes = {Lane.INTERACTIVE: _TenantTurns(), Lane.BATCH: _TenantTurns()}
        self._where: dict[str, tuple[Lane, str, bool]] = {}
        self._waiting: Counter[Lane] = Counter()
        self._interactive_run = 0

    def push(self, request_id: str, *, lane: Lane, tenant: str, retry: bool, share: float = 1.0) -> None:
        """Adds a request; a retry goes before everything, since its client has been
        reading already. In its turn a tenant takes `share` requests, rounded, at least one.
        """
        self._where[request_id] = (lane, tenant, retry)
        self._waiting[lane] += 1
        if retry:
            self._retries[request_id] = None
        else:
            self._lanes[lane].push(tenant, request_id, share)

    def pop(self, ready: Ready = lambda _: True) -> str | None:
        """The request to serve next of those that are `ready`; None when there is none.

        A tenant's requests keep their order: one that is not ready holds back those
        behind it.
        """
        request_id = next((one for one in self._retries if ready(one)), None)
        if request_id is not None:
            del self._retries[request_id]
        else:
            request_id = self._pop_in_turn(ready)
        if request_id is not None:
            self._waiting[self._where.pop(request_id)[0]] -= 1
        return request_id

    def remove(self, request_id: str) -> bool:
        """Takes a request out; False if it does not wait."""
        found = self._where.pop(request_id, None)
        if found is None:
            return False
        lane, tenant, retry = found
        self._waiting[lane] -= 1
        if retry:
            del self._retries[request_id]
        else:
            self._lanes[lane].remove(tenant, request_id)
        return True

    def in_order(self) -> Iterator[str]:
        """The waiting requests in the order of service, should nothing else come."""
        yield from self._retries
        interactive = self._lanes[Lane.INTERACTIVE].in_order()
        batch = self._lanes[Lane.BATCH].in_order()
        run, next_batch = self._interactive_run, next(batch, None)
        for request_id in interactive:
            if next_batch is not None and run >= BATCH_SHARE - 1:
                yield next_batch
                run, next_batch = 0, next(batch, None)
            yield request_id
            run += 1
        if next_batch is not None:
            yield next_batch
        yield from batch

    def positions(self) -> dict[str, int]:
        """The places of the first in the queue, from 1 on."""
        return {request_id: at for at, request_id in enumerate(islice(self.in_order(), POSITIONS_SHOWN), 1)}

    def turns(self, lane: Lane) -> tuple[TenantTurn, ...]:
        """The tenants of a lane in the order of their turns, those with the most one by
        one.
        """
        return self._lanes[lane].told()

    @property
    def retries(self) -> int:
        """How many wait before all turns."""
        return len(self._retries)

    @property
    def interactive_run(self) -> int:
        """How many interactive requests were served since the last of the batch lane."""
        return self._interactive_run

    def waiting(self, lane: Lane) -> int:
        """How many wait in a lane, retries included."""
        return self._waiting[lane]

    def __len__(self) -> int:
        return len(self._where)

    def __contains__(self, request_id: object) -> bool:
        return request_id in self._where

    def _pop_in_turn(self, ready: Ready) -> str | None:
        interactive, batch = self._lanes[Lane.INTERACTIVE], self._lanes[Lane.BATCH]
        if self._interactive_run >= BATCH_SHARE - 1 or not interactive:
            found = batch.pop(ready)
            if found is not None:
                self._interactive_run = 0
                return found
        found = interactive.pop(ready)
        if found is not None:
            self._interactive_run += 1
            return found
        found = batch.pop(ready)
        if found is not None:
            self._interactive_run = 0
        return found
