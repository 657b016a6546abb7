"""What the gateway does for its clients, one use case a function."""

import secrets
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

from schemas.errors import ErrorCode
from schemas.inference import End, InferenceRequested, Lane, Outcome, Piece, ReplyTo, Sampling, Usage
from schemas.topics import requests_topic
from services.common.bus import TopicPartition
from services.common.clock import Clock, MonotonicClock
from services.common.control.principal import Principal, user_of
from services.common.control.reader import ControlReader
from services.common.http.authentication import Authenticator
from services.common.http.problems import CLIENT_LEFT, ProblemError, malformed, unavailable
from services.common.process import metrics
from services.common.process.health import HealthState
from services.common.requests.model_catalogue import ModelConfig
from services.common.requests.request_ids import Kind, new_request_id
from services.gateway.budgets.admission import BudgetAdmission
from services.gateway.budgets.warner import BudgetWarner
from services.gateway.bus.ends import EndPublisher
from services.gateway.bus.monitor import BusMonitor
from services.gateway.bus.publisher import MayHaveBegunError, RequestPublisher
from services.gateway.http.console_proxy import ConsoleProxy
from services.gateway.limits.admission import Admission, Permit
from services.gateway.limits.peer_share import PeerShare
from services.gateway.limits.risk_reader import RiskReader
from services.gateway.openai.requests import ChatBody, CompletionBody
from services.gateway.openai.sampling_params import chat_sampling, completion_sampling, lane_of
from services.gateway.openai.whole_response import WholeResponse
from services.gateway.problems import has_ended, not_all_begun, problem_of_end
from services.gateway.routing.admission import queue_headers, refusal, too_late
from services.gateway.routing.catalogue import Catalogue
from services.gateway.settings import Settings
from services.gateway.streams.idempotency.keys import IdempotencyKeys
from services.gateway.streams.measurements import GIVEN_UP
from services.gateway.streams.queue_positions import Place
from services.gateway.streams.reader import ReaderPool
from services.gateway.streams.reattach import Reattacher
from services.gateway.streams.registry import StreamRegistry
from services.gateway.streams.reply_stream import ReplyStream
from services.gateway.streams.watchdog import Watchdog

_TAKE_S = 30.0
REFUSED = "refused"
"""How a request counts that was never begun."""

Admitted = tuple[InferenceRequested, Permit]


class _BlockedError(ProblemError):
    """A request whose end is recorded: it is refused for what it is."""


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
    admission: Admission
    peer_share: PeerShare
    risks: RiskReader
    budgets: BudgetAdmission
    warner: BudgetWarner
    clock: Clock
    monotonic: MonotonicClock


def new_id(serving: Serving, kind: Kind) -> str:
    """The id of a request that is yet to be made."""
    return new_request_id(
        kind, time_ms=serving.publisher.bus_clock.now_ms(), random_bits=secrets.randbits(74)
    )


async def ask_chat(
    serving: Serving,
    caller: Principal,
    body: ChatBody,
    *,
    request_id: str,
    stream: bool,
    traceparent: str | None,
) -> ReplyStream:
    """Publishes a chat completion's request. Returns once Kafka has it.

    Raises:
        ProblemError: the body asks for what cannot be served, or the bus does not take
            it.
    """
    model = serving.catalogue.find(body.model, caller)
    sampling = chat_sampling(body, model, max_choices=serving.settings.max_choices)
    request = _request(
        serving,
        caller,
        body,
        request_id=request_id,
        model=model,
        kind="chat",
        sampling=sampling,
        stream=stream,
        messages=tuple(body.messages),
    )
    [(request, permit)] = await _admit(serving, caller, [request], traceparent)
    return await _ask(serving, request, permit, traceparent)


async def ask_completions(
    serving: Serving,
    caller: Principal,
    body: CompletionBody,
    *,
    request_ids: Sequence[str],
    stream: bool,
    traceparent: str | None,
) -> list[ReplyStream]:
    """Publishes a text completion, a request for each prompt. Returns once Kafka has
    them. None is published where together they exceed a limit or a budget.

    Raises:
        ProblemError: the body asks for what cannot be served, or the bus does not take
            it; whatever was begun is cancelled.
    """
    choices, most = len(body.prompts) * (body.n or 1), serving.settings.max_choices
    if choices > most:
        raise malformed(
            f"prompt has {len(body.prompts)} texts with {body.n or 1} choices each; at most {most} choices "
            "are given.",
            "prompt" if len(body.prompts) > 1 else "n",
        )
    model = serving.catalogue.find(body.model, caller)
    sampling = completion_sampling(body, model, max_choices=most)
    requests = [
        _request(
            serving,
            caller,
            body,
            request_id=request_id,
            model=model,
            kind="completion",
            sampling=sampling,
            stream=stream,
            prompt=prompt,
        )
        for request_id, prompt in zip(request_ids, body.prompts, strict=True)
    ]
    admitted = await _admit(serving, caller, requests, traceparent)
    begun: list[ReplyStream] = []
    try:
        for request, permit in admitted:
            begun.append(await _ask(serving, request, permit, traceparent))
    except BaseException as error:
        for reply_stream in begun:
            serving.registry.release(reply_stream)
        for _, permit in admitted[len(begun) :]:
            permit.abandon()
        for request, _ in admitted[len(begun) + 1 :]:
            serving.budgets.release(request.request_id)
        if begun and isinstance(error, ProblemError):
            raise not_all_begun(error.problem, begun=len(begun), prompts=len(body.prompts)) from error
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


async def _admit(
    serving: Serving, caller: Principal, requests: Sequence[InferenceRequested], traceparent: str | None
) -> "Sequence[Admitted]":
    """The requests of one call as they may be published, each with its permit, or the
    reason why none of them is served.

    A request that is refused for what it is has its end recorded; one that is refused
    for now was never made, and is only counted.
    """
    first = requests[0]
    try:
        serving.registry.require_room(caller.tenant, len(requests))
        await _require_servable(serving, first, traceparent)
        place = serving.registry.queue_positions.place_of_next(first.tenant, first.model, first.lane)
        _require_in_time(first, place)
        permits = await serving.admission.admit(caller, requests)
        try:
            affordable = await serving.budgets.admit(requests)
        except BaseException:
            for permit in permits:
                permit.abandon()
            raise
        if place is not None:
            permits = [permit.telling(queue_headers(place)) for permit in permits]
        return list(zip(affordable, permits, strict=True))
    except ProblemError as error:
        status = Outcome.BLOCKED.value if isinstance(error, _BlockedError) else REFUSED
        metrics.LLM_REQUESTS.labels(first.model, status).inc(len(requests))
        error.request_id = first.request_id
        raise


async def _require_servable(serving: Serving, request: InferenceRequested, traceparent: str | None) -> None:
    if (end := refusal(serving.control.state, request)) is not None:
        await serving.ends.end(request, end, traceparent=traceparent)
        raise _BlockedError(problem_of_end(end) or CLIENT_LEFT)


def _require_in_time(request: InferenceRequested, place: Place | None) -> None:
    if (problem := too_late(request, place)) is not None:
        metrics.LIMITS_REFUSED.labels("model", "queue").inc()
        raise ProblemError(problem)


async def _ask(
    serving: Serving, request: InferenceRequested, permit: Permit, traceparent: str | None
) -> ReplyStream:
    try:
        return await _publish(serving, request, permit, traceparent)
    except ProblemError as error:
        error.request_id = request.request_id
        error.problem = replace(error.problem, headers=(*permit.headers, *error.problem.headers))
        status = GIVEN_UP if isinstance(error, MayHaveBegunError) else REFUSED
        metrics.LLM_REQUESTS.labels(request.model, status).inc()
        raise


async def _publish(
    serving: Serving, request: InferenceRequested, permit: Permit, traceparent: str | None
) -> ReplyStream:
    reply_stream = serving.registry.follow(
        request, serving.readers.own, traceparent=traceparent, permit=permit
    )
    try:
        origin = await serving.publisher.ask(request, traceparent, begun=lambda: reply_stream.begun)
    except BaseException as error:
        serving.registry.forget(reply_stream)
        if isinstance(error, ProblemError) and not isinstance(error, MayHaveBegunError):
            serving.budgets.release(request.request_id)
        raise
    if origin is not None:
        reply_stream.attempt_lies_at(1, origin)
    return reply_stream


def _request(
    serving: Serving,
    caller: Principal,
    body: ChatBody | CompletionBody,
    *,
    request_id: str,
    model: ModelConfig,
    kind: Kind,
    sampling: Sampling,
    stream: bool,
    messages: tuple[Any, ...] = (),
    prompt: str = "",
) -> InferenceRequested:
    settings, now, lane = serving.settings, serving.clock(), lane_of(body, model)
    timeout_s = settings.interactive_timeout_s if lane is Lane.INTERACTIVE else settings.batch_timeout_s
    return InferenceRequested(
        request_id=request_id,
        kind=kind,
        model=model.name,
        lane=lane,
        tenant=caller.tenant,
        key_id=caller.key_id,
        user=user_of(caller, body.user, pseudonym_key=settings.pseudonym_key.get_secret_value()),
        messages=messages,
        prompt=prompt,
        sampling=sampling,
        stream=stream,
        include_usage=body.include_usage,
        reply_to=ReplyTo(partition=serving.readers.own.partition, gateway_id=settings.instance),
        requested_at=now,
        deadline=now + timedelta(seconds=timeout_s),
        accept_by=serving.publisher.bus_clock.latest_after(
            TopicPartition(requests_topic(model.name, lane), 0), settings.ack_timeout_s
        ),
        share=None if (share := serving.control.state.share_of(caller.tenant)) == 1 else share,
    )
