"""What the gateway does for its clients, one use case a function."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from schemas.errors import ErrorCode
from schemas.inference import End, Piece, Usage
from services.common.clock import Clock, MonotonicClock
from services.common.control.principal import Principal
from services.common.control.reader import ControlReader
from services.common.http.authentication import Authenticator
from services.common.http.problems import CLIENT_LEFT, ProblemError, unavailable
from services.common.process import metrics
from services.common.process.health import HealthState
from services.gateway.admission.gate import REFUSED, Gate
from services.gateway.admission.inspection.inspector import Inspector
from services.gateway.budgets.guard import BudgetGuard
from services.gateway.budgets.warner import BudgetWarner
from services.gateway.bus.ends import EndPublisher
from services.gateway.bus.monitor import BusMonitor
from services.gateway.bus.publisher import MayHaveBegunError, RequestPublisher
from services.gateway.bus.request_maker import RequestMaker
from services.gateway.http.console_proxy import ConsoleProxy
from services.gateway.limits.guard import LimitGuard
from services.gateway.limits.risk_reader import RiskReader
from services.gateway.limits.usage_exchange import UsageExchange
from services.gateway.openai.catalogue import Catalogue
from services.gateway.openai.whole_response import WholeResponse
from services.gateway.problems import has_ended, not_all_begun, problem_of_end
from services.gateway.settings import Settings
from services.gateway.streams.admitted import Admitted
from services.gateway.streams.idempotency.keys import IdempotencyKeys
from services.gateway.streams.measurements import GIVEN_UP
from services.gateway.streams.reader import ReaderPool
from services.gateway.streams.reattach import Reattacher
from services.gateway.streams.registry import StreamRegistry
from services.gateway.streams.reply_stream import ReplyStream
from services.gateway.streams.watchdog import Watchdog

_TAKE_S = 30.0


@dataclass
class Serving:
    """Everything that serving a request needs."""

    settings: Settings
    health: HealthState
    catalogue: Catalogue
    control: ControlReader
    keys: Authenticator
    bus_monitor: BusMonitor
    publisher: RequestPublisher
    ends: EndPublisher
    readers: ReaderPool
    registry: StreamRegistry
    watchdog: Watchdog
    reattacher: Reattacher
    console: ConsoleProxy
    idempotency: IdempotencyKeys
    requests: RequestMaker
    gate: Gate
    inspector: Inspector
    limits: LimitGuard
    usage_exchange: UsageExchange
    risks: RiskReader
    budgets: BudgetGuard
    warner: BudgetWarner
    clock: Clock
    monotonic: MonotonicClock


async def begin(serving: Serving, admitted: Sequence[Admitted], traceparent: str | None) -> list[ReplyStream]:
    """Publishes the requests of one call. Returns once Kafka has them.

    Raises:
        MayHaveBegunError: not all were published, or that is not known; whatever had
            begun is cancelled.
        ProblemError: none had begun.
    """
    begun: list[ReplyStream] = []
    try:
        for one in admitted:
            begun.append(await _publish(serving, one, traceparent))  # noqa: PERF401  released on failure
    except BaseException as error:
        for reply_stream in begun:
            serving.registry.release(reply_stream)
        for one in admitted[len(begun) :]:
            one.give_back()
        if begun and isinstance(error, ProblemError):
            problem = not_all_begun(error.problem, begun=len(begun), prompts=len(admitted)).problem
            raise MayHaveBegunError(problem) from error
        raise
    return begun


async def gather(serving: Serving, reply_stream: ReplyStream) -> tuple[WholeResponse, dict[str, Any]]:
    """Waits for a request's end and gives its answer, and that as the API's body.

    Raises:
        ProblemError: it ended otherwise, or the client left.
    """
    request = reply_stream.request
    answer = WholeResponse(
        request.request_id, kind=request.kind, model=request.model, choices=request.sampling.n
    )
    usage = Usage()
    async for pieces, end in steps(serving, reply_stream):
        answer.add(pieces)
        usage = end.usage if end else usage
    return answer, answer.body(usage)


async def steps(
    serving: Serving, reply_stream: ReplyStream
) -> AsyncIterator[tuple[tuple[Piece, ...], End | None]]:
    """A request's pieces as they come; its end comes with the last.

    Raises:
        ProblemError: it ended otherwise than by completion, or the client left.
    """
    began, heard = serving.monotonic(), False
    while True:
        for arrival in await reply_stream.take(_TAKE_S):
            if not heard:
                heard = True
                metrics.GATEWAY_TTFT_SECONDS.labels(reply_stream.request.model).observe(
                    serving.monotonic() - began
                )
            if arrival.end is not None and (problem := problem_of_end(arrival.end)) is not None:
                raise ProblemError(problem)
            yield arrival.pieces, arrival.end
            if arrival.end is not None:
                return
        if reply_stream.left:
            raise ProblemError(CLIENT_LEFT)
        if reply_stream.problem is not None:
            raise ProblemError(reply_stream.problem)


async def cancel(serving: Serving, caller: Principal, request_id: str) -> None:
    """Takes a request back, whichever gateway it came to.

    Raises:
        ProblemError: 404, the caller's tenant has no such request; 409, it has ended;
            429, the tenant looks up too much; 503, the bus is away.
    """
    if not serving.bus_monitor.available:
        raise unavailable(
            "The message bus is away; nothing was cancelled. Try again.", code=ErrorCode.BUS_UNAVAILABLE
        )
    request, _ = await serving.reattacher.find(request_id, caller)
    if await serving.reattacher.has_ended(request):
        raise has_ended(request_id)
    serving.publisher.cancel(request, "asked")


async def _publish(serving: Serving, admitted: Admitted, traceparent: str | None) -> ReplyStream:
    request = admitted.request
    reply_stream = serving.registry.follow(admitted, serving.readers.own, traceparent=traceparent)
    try:
        origin = await serving.publisher.ask(request, traceparent, begun=lambda: reply_stream.begun)
    except BaseException as error:
        if isinstance(error, ProblemError) and not isinstance(error, MayHaveBegunError):
            admitted.give_back()
        else:
            admitted.leave_to_its_end()
        serving.registry.forget(reply_stream)
        if isinstance(error, ProblemError):
            _tell(error, admitted)
        raise
    if origin is not None:
        reply_stream.attempt_lies_at(1, origin)
    return reply_stream


def _tell(error: ProblemError, admitted: Admitted) -> None:
    error.request_id = admitted.request.request_id
    error.problem = replace(error.problem, headers=(*admitted.headers, *error.problem.headers))
    status = GIVEN_UP if isinstance(error, MayHaveBegunError) else REFUSED
    metrics.LLM_REQUESTS.labels(admitted.request.model, status).inc()
