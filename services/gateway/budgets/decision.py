"""Whether a request may still be let in under its hard budgets. Pure.

What is left of a budget is its limit without what was spent, what requests under way
here have reserved, and what the other gateways say that theirs have. For a moment they
do not know of what was let in here, nor this one of theirs: in that time each gateway
gives out no more than its part of what is left, or one request. So all of them together
overshoot a budget by at most one request of each other gateway. One that has just
started gives out nothing before all have heard of each other.
"""

from collections.abc import Iterable
from decimal import Decimal
from typing import NamedTuple

from services.gateway.budgets.book import Budget
from services.gateway.budgets.estimates import SHORTEST_ANSWER, Estimate

_NOTHING = Decimal(0)


class BudgetStatus(NamedTuple):
    """How a budget stands: `lately` was reserved here and may not be known elsewhere;
    `peers` is None while it is not known which other gateways there are.
    """

    budget: Budget
    spent: Decimal
    reserved: Decimal
    lately: Decimal
    elsewhere: Decimal
    peers: int | None

    @property
    def left(self) -> Decimal:
        """What is neither spent nor reserved."""
        return self.budget.limit_usd - self.spent - self.reserved - self.elsewhere

    @property
    def part(self) -> Decimal:
        """What this gateway may give out of it now."""
        if not self.peers:
            return self.left
        return (self.left + self.lately) / (self.peers + 1) - self.lately

    def allows(self, usd: Decimal) -> bool:
        """Whether a request that costs so much may be let in."""
        if self.peers is None:
            return False
        return usd <= self.part or (not self.lately and usd <= self.left)


class Admit(NamedTuple):
    """To be reserved; each answer may have so many tokens, None where that is as asked."""

    usd: Decimal
    max_tokens: int | None


class Reject(NamedTuple):
    """This budget does not reach; `for_now`: it may again once requests under way have
    ended, which have reserved the most that they can cost.
    """

    budget: Budget
    for_now: bool


class RetryLater(NamedTuple):
    """It may reach: to be asked again once the gateways know of each other's requests."""


def decide(estimate: Estimate, statuses: Iterable[BudgetStatus]) -> Admit | Reject | RetryLater:
    """Lets a request in whole; where a budget does not reach for that, one that does not
    say how long its answer may be with as long a one as it does reach for.
    """
    tokens, waits, usd = estimate.tokens, False, estimate.usd
    shortest = min(tokens, SHORTEST_ANSWER)
    if not usd:
        return Admit(_NOTHING, None)
    for status in statuses:
        if status.allows(usd):
            continue
        if usd > status.left and estimate.least_usd > status.left:
            reaches = status.spent + estimate.least_usd <= status.budget.limit_usd
            return Reject(status.budget, for_now=reaches)
        if usd > status.left and status.allows(estimate.least_usd):
            tokens = min(tokens, max(estimate.tokens_for(status.part), shortest))
        else:
            waits = True
    if waits:
        return RetryLater()
    if tokens == estimate.tokens:
        return Admit(usd, None)
    return Admit(estimate.of(tokens), tokens)
