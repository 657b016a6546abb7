"""Lets the requests of one call in, all of them or none."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from schemas.inference import InferenceRequested
from services.common.control.principal import Principal
from services.common.control.state import ControlState
from services.common.http.problems import Headers, ProblemError
from services.common.process import metrics
from services.gateway.admission.checks import queue_headers, refusal, too_late
from services.gateway.budgets.guard import BudgetGuard
from services.gateway.bus.ends import EndPublisher
from services.gateway.limits.guard import LimitGuard
from services.gateway.problems import INJECTION, prompt_injection
from services.gateway.streams.admitted import Admitted
from services.gateway.streams.registry import StreamRegistry

REFUSED = "refused"
"""How a request counts that was never begun."""


class _BlockedError(ProblemError):
    """A request whose end is recorded: it is refused for what it is."""


class PromptBlockedError(_BlockedError):
    """A call some of whose prompts are blocked: those are the `requests`."""

    def __init__(self, requests: Sequence[InferenceRequested], headers: Headers) -> None:
        super().__init__(prompt_injection(requests, headers))
        self.requests = requests
        self.request_id = requests[0].request_id


MayEnd = Callable[[Sequence[InferenceRequested]], Awaitable[bool]]
"""Says whether this call shall record that its prompts are blocked; another may have."""


class Inspects(Protocol):
    """`Inspector`, as far as it is asked here."""

    async def inspect(self, requests: Sequence[InferenceRequested]) -> list[InferenceRequested]:
        """The requests, each with its risk."""


@dataclass
class Gate:
    """Everything that a request must pass. What it passes is taken at once, so that
    whoever waits at a later check does not overtake the earlier ones.
    """

    state: Callable[[], ControlState]
    ends: EndPublisher
    registry: StreamRegistry
    budgets: BudgetGuard
    limits: LimitGuard
    inspector: Inspects

    async def admit(
        self,
        caller: Principal,
        requests: Sequence[InferenceRequested],
        traceparent: str | None,
        *,
        may_end: MayEnd | None = None,
    ) -> list[Admitted]:
        """The requests of one call, which are for one model, as they may be published.

        A request that is refused for what it is has its end recorded; one that is
        refused for now was never made, and is only counted.

        Raises:
            ProblemError: none is let in, and nothing stays taken.
        """
        first, admitted = requests[0], list[Admitted]()
        try:
            slots = self.registry.take_slots(first.tenant, len(requests))
            admitted = [
                Admitted(request, slot, user=caller.user)
                for request, slot in zip(requests, slots, strict=True)
            ]
            await self._reserve(caller, admitted)
            await self._require_servable(admitted, traceparent)
            await self._inspect(admitted, traceparent, may_end)
        except BaseException as error:
            for one in admitted:
                one.give_back()
            if isinstance(error, ProblemError):
                error.request_id = error.request_id or first.request_id
                if not isinstance(error, _BlockedError):
                    metrics.LLM_REQUESTS.labels(first.model, REFUSED).inc(len(requests))
            raise
        return admitted

    async def _reserve(self, caller: Principal, admitted: Sequence[Admitted]) -> None:
        """Takes what a call takes beside its places. Limits come last of these: what a
        budget refuses has used none of them.
        """
        first = admitted[0].request
        position = self.registry.queue_positions.position_of_next(
            first.tenant, first.model, first.lane, share=first.share or 1.0
        )
        if (problem := too_late(first, position)) is not None:
            metrics.LIMITS_REFUSED.labels("model", "queue").inc()
            raise ProblemError(problem)
        affordable = await self.budgets.admit([one.request for one in admitted])
        for one, request in zip(admitted, affordable, strict=True):
            one.request, one.release_money = request, self.budgets.release
        headers, reservations = await self.limits.admit(caller, affordable)
        for one, reservation in zip(admitted, reservations, strict=True):
            one.reserved = None if reservation is None else (self.limits, reservation)
            one.headers = (*headers, *queue_headers(position))

    async def _require_servable(self, admitted: Sequence[Admitted], traceparent: str | None) -> None:
        """Records how the call ends where its model is not served: one end, whatever the
        number of its prompts. It comes after the limits and uses them: who is over them
        writes no rows.
        """
        first = admitted[0]
        if (refused := refusal(self.state(), first.request)) is None:
            return
        end, problem = refused
        try:
            await self.ends.end(first.request, end, traceparent=traceparent)
        finally:
            for one in admitted:
                one.block()
        metrics.LLM_REQUESTS.labels(first.request.model, end.outcome.value).inc()
        raise _BlockedError(replace(problem, headers=(*first.headers, *problem.headers)))

    async def _inspect(
        self, admitted: Sequence[Admitted], traceparent: str | None, may_end: MayEnd | None
    ) -> None:
        """Lets nothing through that the tenant's policy blocks. Last, since it is the
        dearest check: who is over a limit has no work done for it. Each prompt that is
        blocked has an end; of several the harmless ones were never made.
        """
        inspected = await self.inspector.inspect([one.request for one in admitted])
        for one, request in zip(admitted, inspected, strict=True):
            one.request = request
        blocked = [one for one in inspected if one.risk is not None and one.risk.action == "blocked"]
        if not blocked:
            return
        try:
            if may_end is None or await may_end(blocked):
                await self._end(blocked, traceparent)
        finally:
            for one in admitted:
                one.block()
        raise PromptBlockedError(blocked, admitted[0].headers)

    async def _end(self, blocked: Sequence[InferenceRequested], traceparent: str | None) -> None:
        for request in blocked:
            await self.ends.end(request, INJECTION, traceparent=traceparent)
            metrics.LLM_REQUESTS.labels(request.model, INJECTION.outcome.value).inc()
