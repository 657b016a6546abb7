"""Lets the requests of one call in, all of them or none."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from schemas.inference import End, InferenceRequested
from services.common.control.principal import Principal
from services.common.control.state import ControlState
from services.common.http.problems import Headers, ProblemError
from services.common.process import metrics
from services.gateway.admission.checks import queue_headers, refusal, too_late
from services.gateway.admission.masking.protector import Protected
from services.gateway.budgets.guard import BudgetGuard
from services.gateway.bus.ends import EndPublisher
from services.gateway.limits.guard import LimitGuard
from services.gateway.problems import INJECTION, blocked, secret_in_prompt
from services.gateway.streams.admitted import Admitted
from services.gateway.streams.registry import StreamRegistry

REFUSED = "refused"
"""How a request counts that was never begun."""


class _BlockedError(ProblemError):
    """A request whose end is recorded: it is refused for what it is."""


class PromptBlockedError(_BlockedError):
    """A call some of whose prompts are blocked: those are the `requests`, which end
    so.
    """

    def __init__(self, requests: Sequence[InferenceRequested], end: End, headers: Headers) -> None:
        super().__init__(blocked(requests, end, headers))
        self.requests, self.end = requests, end
        self.request_id = requests[0].request_id


MayEnd = Callable[[Sequence[InferenceRequested]], Awaitable[bool]]
"""Says whether this call shall record that its prompts are blocked; another may have."""


class Inspects(Protocol):
    """`Inspector`, as far as it is asked here."""

    async def inspect(self, requests: Sequence[InferenceRequested]) -> list[InferenceRequested]:
        """The requests, each with its risk."""


class Protects(Protocol):
    """`Protector`, as far as it is asked here."""

    async def protect(self, requests: Sequence[InferenceRequested]) -> list[Protected]:
        """The requests, each as the model may have it."""


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
    protector: Protects

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
            await self._protect(admitted, traceparent, may_end)
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
        refused = [one for one in inspected if one.risk is not None and one.risk.action == "blocked"]
        await self._refuse(admitted, refused, INJECTION, traceparent, may_end)

    async def _protect(
        self, admitted: Sequence[Admitted], traceparent: str | None, may_end: MayEnd | None
    ) -> None:
        """Gives the model no more of the prompts than the tenant's policy lets it have:
        what was inspected were the prompts as they came.
        """
        protected = await self.protector.protect([one.request for one in admitted])
        for one, now in zip(admitted, protected, strict=True):
            one.request = now.request
        secrets = sorted({kind for one in protected for kind in one.secrets})
        refused = [one.request for one in protected if one.secrets]
        await self._refuse(admitted, refused, secret_in_prompt(secrets), traceparent, may_end)

    async def _refuse(
        self,
        admitted: Sequence[Admitted],
        refused: Sequence[InferenceRequested],
        end: End,
        traceparent: str | None,
        may_end: MayEnd | None,
    ) -> None:
        """Refuses a call, if any of its prompts is refused for what it is."""
        if not refused:
            return
        try:
            if may_end is None or await may_end(refused):
                await self._end(refused, end, traceparent)
        finally:
            for one in admitted:
                one.block()
        raise PromptBlockedError(refused, end, admitted[0].headers)

    async def _end(self, refused: Sequence[InferenceRequested], end: End, traceparent: str | None) -> None:
        for request in refused:
            await self.ends.end(request, end, traceparent=traceparent)
            metrics.LLM_REQUESTS.labels(request.model, end.outcome.value).inc()
