"""Lets requests in by their hard budgets, before they are published."""

import asyncio
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from decimal import Decimal

from schemas.errors import ErrorCode
from schemas.inference import InferenceRequested
from services.common.budgets.spend import zone_of
from services.common.clock import Clock, MonotonicClock
from services.common.http.problems import NO_RETRY, Headers, Problem, ProblemError, retry_after, unavailable
from services.common.process import metrics
from services.common.requests.model_catalogue import ModelConfig
from services.common.requests.pricing import PriceList
from services.gateway.budgets.book import Budget, BudgetBook
from services.gateway.budgets.decision import Admit, BudgetStatus, Reject, RetryLater, decide
from services.gateway.budgets.estimates import Estimate, estimate
from services.gateway.budgets.follower import End, SpendFollower
from services.gateway.budgets.reservations import Reservations
from services.gateway.budgets.spending import Spending
from services.gateway.limits.peer_usage import PeerUsage

_UNCOUNTED_S = 0.5
"""So long a gateway that begins to follow a budget may take to tell what it counts."""
_NEWS_SHARE = 0.1
"""What the other gateways should know soon: so much of what is left of a budget."""
_READ_S = 2.0
_TURN_S = 2.0
_TRY_EVERY_S = 0.05
_MOST_WAITING = 256
_LOOK_EVERY_S = 1.0
_MOST_USD = 1e15
_NOTHING = Decimal(0)
_SOON: Headers = (("x-should-retry", "true"), *retry_after(1))
_EVERY = {"day": "daily", "month": "monthly"}
_MARGIN = timedelta(seconds=60)
"""An end may come so long after its request's deadline: a dispatcher's overdue time, a
takeover.
"""


@dataclass
class BudgetGuard:
    """Reserves before a request is published; the reservation ends with the request's
    own end, as all gateways read it, so that what it cost is spent before it is free: here
    at once, for the others when they have told that they counted it.
    `read_book` brings the book up to date; `on_news` has the other gateways told soon,
    and asks them to tell that they have read it.
    """

    book: BudgetBook
    spending: Spending
    reservations: Reservations
    peer_usage: PeerUsage
    prices: PriceList
    models: Mapping[str, ModelConfig]
    clock: Clock
    monotonic: MonotonicClock
    follower: SpendFollower
    read_book: Callable[[], None] = field(default=lambda: None)
    on_news: Callable[[], None] = field(default=lambda: None)
    _waiting: int = field(default=0, init=False)
    _look_s: float = field(default=float("-inf"), init=False)
    _left_usd: dict[str, float] = field(default_factory=dict, init=False)
    """What was left of each budget when a request was last let in under it."""

    async def admit(self, requests: Sequence[InferenceRequested]) -> list[InferenceRequested]:
        """The requests of one call, as they may be published: all of them or none, which
        is decided on what they cost together. Answers whose length the client left open
        may be bounded, each to the same.

        Raises:
            ProblemError: 429, a hard budget does not reach, or a price is not known;
                503, what was spent is not known yet, or too much is asked at once.
        """
        self.read_book()
        budgets = tuple(one for one in self.book.of(requests[0]) if one.hard)
        if not budgets:
            return list(requests)
        await self._require_known(budgets)
        estimates = [self._estimate(request, budgets[0]) for request in requests]
        decision = await self._decide(_together(estimates), budgets)
        if isinstance(decision, Reject):
            raise self._exhausted(decision)
        return [
            self._reserve(request, one, decision, budgets)
            for request, one in zip(requests, estimates, strict=True)
        ]

    def release(self, request_id: str) -> None:
        """Nothing came of the request."""
        self._tell(self.reservations.release(request_id))

    def on_end(self, end: End) -> None:
        """The request's end was read, and what it cost is spent."""
        self._tell(self.reservations.end(*end, now_s=self.monotonic()))

    def on_round(self) -> bool:
        """Brings the book up to date, and says whether ends must be known: for a budget,
        or for what requests under way still have reserved.
        """
        self.read_book()
        self.peer_usage.ends_read = self.follower.counted
        self._tell(
            self.reservations.forget_ended(self.peer_usage.have_counted, self.monotonic() - _UNCOUNTED_S)
        )
        self.expire()
        return bool(self.book.spend_keys or len(self.reservations))

    def expire(self) -> None:
        """Releases what requests hold that cannot end any more; looks now and then."""
        if self.monotonic() < self._look_s:
            return
        self._look_s = self.monotonic() + _LOOK_EVERY_S
        self._tell(self.reservations.expire(self.monotonic()))
        gone = self.reservations.budget_ids - {one.id for one in self.book.budgets}
        self.reservations.forget(gone)
        for one in gone:
            self._left_usd.pop(one, None)
        metrics.BUDGETS_RESERVED_USD.set(float(self.reservations.total()))

    def _estimate(self, request: InferenceRequested, budget: Budget) -> Estimate:
        price = self.prices.at(request.model, request.requested_at)
        found = estimate(request, self.models[request.model], price)
        if found is None:
            raise _unpriced(request.model, budget)
        return found

    async def _decide(self, found: Estimate, budgets: tuple[Budget, ...]) -> Admit | Reject:
        give_up_s = self.monotonic() + _TURN_S
        while True:
            statuses = self._statuses(budgets)
            decision = decide(found, statuses)
            if isinstance(decision, Admit):
                self._left_usd.update({one.budget.id: float(one.left) for one in statuses})
            if not isinstance(decision, RetryLater):
                return decision
            if self.monotonic() >= give_up_s or not self._may_wait:
                raise self._not_yet()
            self.on_news()
            self._waiting += 1
            try:
                await asyncio.sleep(_TRY_EVERY_S)
            finally:
                self._waiting -= 1

    def _not_yet(self) -> ProblemError:
        if self.peer_usage.peers(self.monotonic()) is None:
            return unavailable(
                "This gateway has not heard lately over the message bus which other gateways there are, so "
                "it keeps no hard budget. Try again.",
                code=ErrorCode.BUS_UNAVAILABLE,
            )
        return unavailable(
            "What is left of a budget is being asked for at several gateways at once. Try again.",
            code=ErrorCode.OVERLOADED,
        )

    @property
    def _may_wait(self) -> bool:
        """Each who waits looks again every 50 ms: so many may."""
        return self._waiting < _MOST_WAITING

    def _statuses(self, budgets: Iterable[Budget]) -> list[BudgetStatus]:
        now = self.clock()
        peers, known_serial = self.peer_usage.peers(self.monotonic()), self.peer_usage.known_serial
        return [
            BudgetStatus(
                one,
                self.spending.spent(one.spend_key, now),
                self.reservations.held(one.id),
                self.reservations.lately(one.id, known_serial),
                to_dollars(self.peer_usage.others(share_name(one.id))) if peers != 0 else _NOTHING,
                peers,
            )
            for one in budgets
        ]

    def _reserve(
        self, request: InferenceRequested, found: Estimate, let_in: Admit, budgets: tuple[Budget, ...]
    ) -> InferenceRequested:
        tokens = let_in.max_tokens
        usd = found.usd if tokens is None else found.of(tokens)
        if usd:
            self._take(request, usd, budgets)
        if tokens is None:
            return request
        sampling = request.sampling.model_copy(update={"max_tokens": tokens})
        return request.model_copy(update={"sampling": sampling})

    def _take(self, request: InferenceRequested, usd: Decimal, budgets: tuple[Budget, ...]) -> None:
        ids = tuple(one.id for one in budgets)
        lives_s = (request.deadline + _MARGIN - self.clock()).total_seconds()
        self.reservations.take(
            request.request_id,
            ids,
            usd,
            serial=self.peer_usage.next_serial,
            until_s=self.monotonic() + max(0.0, lives_s),
        )
        self._tell(ids)

    def _tell(self, budget_ids: Collection[str]) -> None:
        """The other gateways shall know what is reserved here, and soon where that is much
        of what is left.
        """
        soon = False
        for one in budget_ids:
            untold = self.peer_usage.set(share_name(one), float(self.reservations.told(one)))
            soon = soon or untold >= _NEWS_SHARE * self._left_usd.get(one, 0.0)
        if soon:
            self.on_news()

    async def _require_known(self, budgets: tuple[Budget, ...]) -> None:
        """What was spent is never taken for nothing: without it nobody is let in."""
        spend_keys = [one.spend_key for one in budgets]
        if self.follower.is_ready(spend_keys):
            return
        if self._may_wait:
            self._waiting += 1
            try:
                if await self.follower.wait_until_ready(spend_keys, _READ_S):
                    return
            finally:
                self._waiting -= 1
        raise unavailable(
            "What was spent of a budget that this request falls under is not known yet: the store is being "
            "asked. Try again.",
            code=ErrorCode.STORE_UNAVAILABLE,
            retry_after_s=2,
        )

    def _exhausted(self, found: Reject) -> ProblemError:
        budget, period = found.budget, found.budget.spend_key.period
        metrics.BUDGETS_REFUSED.labels(budget.spend_key.spender.kind, period).inc()
        named = f"The {_EVERY[period]} budget {budget.id!r} of your {budget.spend_key.spender.kind}"
        if found.for_now:
            return _insufficient(
                f"{named} is reserved by requests under way, each for the longest answer that it allows. Try "
                "again when they have ended; a smaller max_tokens reserves less.",
                _SOON,
            )
        end = self.spending.period(budget.spend_key, self.clock()).end
        renews = end.astimezone(zone_of(budget.spend_key.time_zone)).isoformat(timespec="seconds")
        why = "does not reach for the longest answer that this request allows; a smaller max_tokens may fit"
        if not budget.limit_usd:
            why = "is 0: nothing is served under it until an administrator raises it"
        elif self.spending.spent(budget.spend_key, self.clock()) >= budget.limit_usd:
            why = "is exhausted"
        return _insufficient(f"{named} {why}. It renews at {renews}.")


def share_name(budget_id: str) -> str:
    """What a budget's reservations are called among the gateways."""
    return f"budget:{budget_id}"


def to_dollars(amount: float) -> Decimal:
    """What another gateway told, which nobody shall make less than nothing or NaN."""
    return Decimal(amount) if 0 < amount < _MOST_USD else Decimal(0)


def _together(estimates: Sequence[Estimate]) -> Estimate:
    """What the requests of one call cost: they differ in nothing but their prompts."""
    if len(estimates) == 1:
        return estimates[0]
    return replace(
        estimates[0],
        fixed_usd=sum((one.fixed_usd for one in estimates), start=Decimal(0)),
        choices=sum(one.choices for one in estimates),
    )


def _unpriced(model: str, budget: Budget) -> ProblemError:
    metrics.BUDGETS_REFUSED.labels(budget.spend_key.spender.kind, budget.spend_key.period).inc()
    return _insufficient(
        f"The model {model!r} has no known price, so the hard budget {budget.id!r} cannot be kept. An "
        "administrator may give the model a price, or make the budget soft."
    )


def _insufficient(message: str, headers: Headers = NO_RETRY) -> ProblemError:
    return ProblemError(Problem(429, ErrorCode.INSUFFICIENT_QUOTA, message, headers=headers))
