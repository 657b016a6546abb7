"""What requests under way may still spend, and which gateways know it. Pure; time is the
monotonic clock's (s).
"""

import heapq
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from decimal import Decimal
from typing import NamedTuple

_NOTHING = Decimal(0)
_SPARE = 1024


class _Reservation(NamedTuple):
    budget_ids: tuple[str, ...]
    usd: Decimal
    until_s: float


class _Ended(NamedTuple):
    """A request's end that others may not have counted yet, and where it lies."""

    partition: int
    offset: int
    read_s: float
    budget_ids: tuple[str, ...]
    usd: Decimal


@dataclass(slots=True)
class _BudgetTotals:
    """Of one budget, in dollars: what is reserved now (`usd`), what those cost whose ends
    others may not have counted (`ended_usd`), and what others may not know to be
    reserved, each with the record that tells it, released ones too (`lately`).
    """

    usd: Decimal = _NOTHING
    ended_usd: Decimal = _NOTHING
    lately: "deque[tuple[int, Decimal]]" = field(default_factory=deque)
    lately_usd: Decimal = _NOTHING


@dataclass
class Reservations:
    """Dollars by request and by budget.

    A reservation ends with its request, or once nothing can come of that any more.
    `serial` numbers the records that tell the other gateways what is reserved.
    """

    _held: dict[str, _BudgetTotals] = field(default_factory=dict, init=False)
    _by_request: dict[str, _Reservation] = field(default_factory=dict, init=False)
    _ends: list[tuple[float, str]] = field(default_factory=list, init=False)
    _ended: deque[_Ended] = field(default_factory=deque, init=False)
    _total_usd: Decimal = field(default=_NOTHING, init=False)

    def __contains__(self, request_id: object) -> bool:
        return request_id in self._by_request

    def __len__(self) -> int:
        return len(self._by_request)

    def take(
        self, request_id: str, budget_ids: tuple[str, ...], usd: Decimal, *, serial: int, until_s: float
    ) -> None:
        """Reserves for a request, until it ends or till `until_s`; the record `serial` is
        the first that tells it.
        """
        self._by_request[request_id] = _Reservation(budget_ids, usd, until_s)
        self._total_usd += usd
        heapq.heappush(self._ends, (until_s, request_id))
        if len(self._ends) > 2 * len(self._by_request) + _SPARE:  # most requests end long before
            self._ends = [(one.until_s, name) for name, one in self._by_request.items()]
            heapq.heapify(self._ends)
        for one in budget_ids:
            held = self._held.setdefault(one, _BudgetTotals())
            held.usd += usd
            held.lately_usd += usd
            if held.lately and held.lately[-1][0] == serial:
                usd_before = held.lately.pop()[1]
                held.lately.append((serial, usd_before + usd))
            else:
                held.lately.append((serial, usd))

    def release(self, request_id: str) -> tuple[str, ...]:
        """The request's end is known: the budgets of which less is reserved now."""
        found = self._by_request.pop(request_id, None)
        if found is None:
            return ()
        self._total_usd -= found.usd
        for one in found.budget_ids:
            if (held := self._held.get(one)) is not None:
                held.usd -= found.usd
        return found.budget_ids

    def end(
        self, request_id: str, usd: Decimal, partition: int, offset: int, *, now_s: float
    ) -> tuple[str, ...]:
        """The same, where its end was read: what it cost is told until the others have
        counted it, since one that reads the end later than this one would else take it
        for neither reserved nor spent.
        """
        budget_ids = self.release(request_id)
        if usd and budget_ids:
            self._ended.append(_Ended(partition, offset, now_s, budget_ids, usd))
            for one in budget_ids:
                if (held := self._held.get(one)) is not None:
                    held.ended_usd += usd
        return budget_ids

    def forget_ended(self, have_counted: Callable[[int, int], bool | None], before_s: float) -> set[str]:
        """What the others have counted is told no longer; of which budgets less is told.
        `have_counted` says that of a partition and an offset: where it does not know,
        they are taken to have counted what was read here before `before_s`.
        """
        changed: set[str] = set()
        while self._ended:
            first = self._ended[0]
            counted = have_counted(first.partition, first.offset)
            if not (counted or (counted is None and first.read_s <= before_s)):
                break
            self._ended.popleft()
            for one in first.budget_ids:
                if (held := self._held.get(one)) is not None:
                    held.ended_usd -= first.usd
                    changed.add(one)
        return changed

    def expire(self, now_s: float) -> set[str]:
        """Ends the reservations of requests that cannot end any more; of which budgets."""
        changed: set[str] = set()
        while self._ends and self._ends[0][0] <= now_s:
            _, request_id = heapq.heappop(self._ends)
            known = self._by_request.get(request_id)
            if known is not None and known.until_s <= now_s:
                changed.update(self.release(request_id))
        return changed

    def held(self, budget_id: str) -> Decimal:
        """All that is reserved under a budget."""
        known = self._held.get(budget_id)
        return _NOTHING if known is None else known.usd

    def told(self, budget_id: str) -> Decimal:
        """What the other gateways are to count as reserved here."""
        known = self._held.get(budget_id)
        return _NOTHING if known is None else known.usd + known.ended_usd

    def lately(self, budget_id: str, known_serial: int) -> Decimal:
        """What was reserved so lately that others may not have heard of it: they have of
        what the records up to `known_serial` tell.
        """
        known = self._held.get(budget_id)
        if known is None:
            return _NOTHING
        while known.lately and known.lately[0][0] <= known_serial:
            known.lately_usd -= known.lately.popleft()[1]
        return known.lately_usd

    def forget(self, budget_ids: Iterable[str]) -> None:
        """These budgets are no more; requests under way may still have reserved there."""
        for one in budget_ids:
            held = self._held.get(one)
            if held is not None and not (held.usd or held.ended_usd):
                del self._held[one]

    @property
    def budget_ids(self) -> frozenset[str]:
        """The budgets of which something is known."""
        return frozenset(self._held)

    def total(self) -> Decimal:
        """All that is reserved, each request once."""
        return self._total_usd
