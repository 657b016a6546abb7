"""Lets requests in by their limits, before they are published."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from schemas.inference import InferenceRequested
from services.common.clock import Clock, MonotonicClock
from services.common.control.limits import LimitKind, Rule, RuleBook
from services.common.control.principal import Principal
from services.common.control.state import ControlState
from services.common.http.problems import Headers, ProblemError
from services.common.process import metrics
from services.gateway.limits.answers import limit_headers, refusal_problem
from services.gateway.limits.estimate import TokenEstimates
from services.gateway.limits.limiter import Cost, LocalLimits, Refused, Reservation
from services.gateway.limits.risk import RiskTable
from services.gateway.limits.valkey.shared_limits import SharedLimits

Granted = tuple[Headers, Sequence[Reservation | None]]
"""How the limits stand now, for the answer's headers, and what each request has reserved
of them; None where it is under none.
"""


@dataclass
class LimitGuard:
    """Checks all that is asked at once, so that of several prompts none is begun where
    one is too many.

    Refusals are counted, not recorded as ends: a flood of them would be one on the bus
    and in the store, too.
    """

    rule_book: RuleBook
    risks: RiskTable
    limiter: LocalLimits
    estimates: TokenEstimates
    state: Callable[[], ControlState]
    clock: Clock
    monotonic: MonotonicClock
    on_news: Callable[[], None] = field(default=lambda: None)
    shared: SharedLimits | None = None

    async def admit(self, caller: Principal, requests: Sequence[InferenceRequested]) -> Granted:
        """What is taken for the requests of one call, which are for one model.

        Raises:
            ProblemError: 429, a limit is reached; nothing was taken.
        """
        rules = self._rules(caller, requests[0])
        if not rules:
            return (), [None] * len(requests)
        costs = [Cost(one.sampling.n, self.estimates.tokens_of(one)) for one in requests]
        refused, used_s = await self._judge(rules, _sum(costs))
        now_s = self.monotonic()
        if refused is not None:
            metrics.LIMITS_REFUSED.labels(*_whose_and_which(refused.rule)).inc()
            raise ProblemError(refusal_problem(refused, self._headers(rules, now_s)))
        reservations = self.limiter.take(rules, costs, now_s)
        if used_s:
            self.limiter.correct(rules, used_s, now_s)
        metrics.LIMITS_RESERVED_TOKENS.inc(sum(reservation.tokens for reservation in reservations))
        if self.limiter.meters.forgotten:
            metrics.LIMITS_FORGOTTEN.inc(self.limiter.meters.forgotten)
            self.limiter.meters.forgotten = 0
        self._tell()
        return self._headers(rules, now_s), reservations

    async def _judge(self, rules: Sequence[Rule], cost: Cost) -> tuple[Refused | None, tuple[float, ...]]:
        """The limit that is exceeded, and what the shared store says is used of each;
        nothing where there is none, or it does not answer.
        """
        if self.shared is not None and self.limiter.never(rules, cost) is None:
            verdict = await self.shared.admit(rules, cost)
            if verdict is not None:
                return verdict.refused, verdict.used_s
        return self.limiter.refusal(rules, cost, self.monotonic()), ()

    def _rules(self, caller: Principal, request: InferenceRequested) -> tuple[Rule, ...]:
        """All limits of a request. Its user is whom the key belongs to, if anybody,
        whoever the body names.
        """
        state = self.state()
        rules = self.rule_book.rules_of(caller, request.model, state)
        if not (self.risks or state.thresholds):
            return rules
        return rules + self.risks.rules_of(caller.tenant, request.user, state, self.clock())

    def settle(
        self, request: InferenceRequested, reservation: Reservation, *, prompt: int, completion: int
    ) -> None:
        """A request ended and took so many tokens."""
        self.estimates.learn(request, completion)
        metrics.LIMITS_RESERVED_TOKENS.dec(reservation.tokens)
        self.limiter.settle(reservation, prompt + completion, self.monotonic())
        if self.shared is not None:
            self.shared.settle(reservation, prompt + completion)
        self._tell()

    def give_back(self, reservation: Reservation) -> None:
        """A request was never begun."""
        metrics.LIMITS_RESERVED_TOKENS.dec(reservation.tokens)
        now_s = self.monotonic()
        self.limiter.give_back(reservation, now_s)
        if self.shared is not None:
            self.shared.give_back(reservation, now_s)
        self._tell()

    def _headers(self, rules: Sequence[Rule], now_s: float) -> Headers:
        allowances = self.limiter.tightest(rules, now_s)
        return limit_headers(allowances.get(LimitKind.REQUESTS), allowances.get(LimitKind.TOKENS))

    def _tell(self) -> None:
        if self.limiter.has_news:
            self.limiter.has_news = False
            self.on_news()


def _whose_and_which(rule: Rule) -> tuple[str, str]:
    return ("user", "risk") if rule.scope == "risk" else (rule.scope, rule.kind.value)


def _sum(costs: Sequence[Cost]) -> Cost:
    if len(costs) == 1:
        return costs[0]
    return Cost(
        sum(cost.requests for cost in costs),
        sum(cost.tokens for cost in costs),
        sum(cost.streams for cost in costs),
    )
