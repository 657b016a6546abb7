"""What the gateway does for its clients, one use case a function."""

import secrets
import time
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from schemas.control import KeyChanged
from schemas.inference import InferenceRequested, Lane, ReplyTo, Sampling
from services.common import metrics
from services.common.clock import Clock, MonotonicClock
from services.common.health import HealthState
from services.common.identity import pseudonym
from services.common.model_catalogue import ModelConfig
from services.gateway.bus_watch import BusWatch
from services.gateway.catalogue import Catalogue
from services.gateway.domain.asking import chat_sampling, completion_sampling, lane_of
from services.gateway.domain.bodies import ChatBody, CompletionBody
from services.gateway.domain.problems import CLIENT_LEFT, ProblemError, problem_of_end, unavailable
from services.gateway.domain.request_ids import Kind, new_request_id
from services.gateway.domain.whole_answer import WholeAnswer
from services.gateway.follower import Follower
from services.gateway.keeper import StreamKeeper
from services.gateway.key_table import KeyTable
from services.gateway.outbox import Outbox
from services.gateway.reattach import Reattacher
from services.gateway.replies import ReaderPool
from services.gateway.settings import Settings

_TAKE_S = 30.0


@dataclass
class Serving:
    """Everything that serving a request needs."""

    settings: Settings
    health: HealthState
    catalogue: Catalogue
    keys: KeyTable
    watch: BusWatch
    outbox: Outbox
    readers: ReaderPool
    keeper: StreamKeeper
    reattacher: Reattacher
    clock: Clock
    monotonic: MonotonicClock


async def ask_chat(
    serving: Serving, key: KeyChanged, body: ChatBody, *, stream: bool, traceparent: str | None
) -> Follower:
    """Publishes a chat completion's request. Returns once Kafka has it.

    Raises:
        ProblemError: the body asks for what cannot be served, or the bus does not take
            it.
    """
    model = serving.catalogue.find(body.model, key)
    sampling = chat_sampling(body, model, max_choices=serving.settings.max_choices)
    request = _request(
        serving,
        key,
        body,
        model=model,
        kind="chat",
        sampling=sampling,
        stream=stream,
        messages=tuple(body.messages),
    )
    return await _ask(serving, request, traceparent)


async def ask_completion(
    serving: Serving, key: KeyChanged, body: CompletionBody, *, stream: bool, traceparent: str | None
) -> Follower:
    """Publishes a text completion's request. Returns once Kafka has it.

    Raises:
        ProblemError: the body asks for what cannot be served, or the bus does not take
            it.
    """
    model = serving.catalogue.find(body.model, key)
    sampling = completion_sampling(body, model, max_choices=serving.settings.max_choices)
    request = _request(
        serving, key, body, model=model, kind="completion", sampling=sampling, stream=stream, prompt=body.text
    )
    return await _ask(serving, request, traceparent)


async def gather(serving: Serving, follower: Follower) -> tuple[WholeAnswer, dict[str, object]]:
    """Waits for a request's end and gives its answer, and that as the API's body.

    Raises:
        ProblemError: it ended otherwise, or the client left.
    """
    request = follower.request
    answer = WholeAnswer(
        request.request_id, kind=request.kind, model=request.model, choices=request.sampling.n
    )
    began, heard = serving.monotonic(), False
    while True:
        arrivals = await follower.take(_TAKE_S)
        for arrival in arrivals:
            answer.add(arrival.step.pieces)
            if not heard:
                heard = True
                metrics.GATEWAY_TTFT_SECONDS.labels(request.model).observe(serving.monotonic() - began)
            if (end := arrival.step.end) is not None:
                if (problem := problem_of_end(end)) is not None:
                    raise ProblemError(problem)
                return answer, answer.body(end.usage)
        if follower.left:
            raise ProblemError(CLIENT_LEFT)
        if follower.problem is not None:
            raise ProblemError(follower.problem)


async def cancel(serving: Serving, key: KeyChanged, request_id: str) -> None:
    """Takes a request back, whichever gateway it came to.

    Raises:
        ProblemError: 404, the caller's tenant has no such request; 503, the bus is
            away.
    """
    if not serving.watch.available:
        raise unavailable(
            "The message bus is away; nothing was cancelled. Try again.", code="bus_unavailable"
        )
    request, _ = await serving.reattacher.find(request_id, key)
    serving.outbox.cancel(request, "asked")


async def _ask(serving: Serving, request: InferenceRequested, traceparent: str | None) -> Follower:
    serving.keeper.require_room()
    follower = serving.keeper.follow(request, serving.readers.own, traceparent=traceparent)
    try:
        origin = await serving.outbox.ask(request, traceparent)
    except BaseException:
        serving.keeper.forget(follower)
        raise
    if follower.state.attempt == 1:
        follower.origin = origin
    return follower


def _request(
    serving: Serving,
    key: KeyChanged,
    body: ChatBody | CompletionBody,
    *,
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
        request_id=new_request_id(
            kind, time_ms=time.time_ns() // 1_000_000, random_bits=secrets.randbits(74)
        ),
        kind=kind,
        model=model.name,
        lane=lane,
        tenant=key.tenant,
        key_id=key.key_id,
        user=pseudonym(
            settings.pseudonym_key.get_secret_value(), tenant=key.tenant, user=body.user or key.user
        ),
        messages=messages,
        prompt=prompt,
        sampling=sampling,
        stream=stream,
        include_usage=body.include_usage,
        reply_to=ReplyTo(partition=serving.readers.own.partition, gateway_id=settings.instance),
        requested_at=now,
        deadline=now + timedelta(seconds=timeout_s),
    )
