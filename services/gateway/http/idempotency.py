"""One answer to a call that is made twice: the `Idempotency-Key` header."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from pydantic import BaseModel
from starlette.requests import Request

from schemas.errors import ErrorCode
from schemas.inference import InferenceRequested, LogPosition
from services.common.control.principal import Principal
from services.common.http.access_log import bind_answer_headers
from services.common.http.problems import Problem, ProblemError, malformed, unavailable
from services.common.process import metrics
from services.common.requests.request_ids import Kind, time_ms_of
from services.gateway.handlers import Serving, new_id
from services.gateway.http.request_input import traceparent_of
from services.gateway.problems import problem_of_end
from services.gateway.streams.idempotency.claims import Claim
from services.gateway.streams.idempotency.keys import Held
from services.gateway.streams.idempotency.recording import replayed
from services.gateway.streams.idempotency.sealing import Asked
from services.gateway.streams.reply_stream import ReplyStream

Ask = Callable[[Sequence[str]], Awaitable[Sequence[ReplyStream]]]

_MOST_CHARS = 255
_BEGINS_WITHIN_S = 2.0
_LOOK_EVERY_S = 0.2
_NEVER_BEGUN_S = 90.0
"""A request that the log has not by then never came into it."""
_IN_LOG_S = 14 * 60.0
_STALE_S = 20.0
_NO_RETRY = (("x-should-retry", "false"),)
_REPLAYED = (("idempotent-replayed", "true"),)


@dataclass(frozen=True, slots=True)
class Answering:
    """Who answers a call. The requests go on for `window_s` once the client has left."""

    reply_streams: Sequence[ReplyStream]
    window_s: float
    placed: bool = True
    """Whether its chunks lie in the log, where the stream can be taken up again."""


async def once(
    serving: Serving,
    request: Request,
    caller: Principal,
    body: BaseModel,
    *,
    kind: Kind,
    window_s: float,
    ask: Ask,
    count: int = 1,
) -> Answering:
    """Asks, or finds the answer of an earlier call with the same key and body.

    `ask` gets the ids of the `count` requests that it shall make. With a key they go on
    to their end when the client leaves: it may come back for the answer.

    Raises:
        ProblemError: 400, the key is none; 409, it was used for another body, or the
            answer is no longer kept; 503, the log cannot be reached in time; whatever
            `ask` raises.
    """
    key = request.headers.get("idempotency-key")
    if key is None:
        return Answering(await ask([new_id(serving, kind) for _ in range(count)]), window_s)
    call = _Call(
        serving, request, caller, _asked(request, caller, body, key), kind=kind, count=count, ask=ask
    )
    return await call.answering()


@dataclass(frozen=True, slots=True)
class _Call:
    """One call with a key."""

    serving: Serving
    request: Request
    caller: Principal
    asked: Asked
    kind: Kind
    count: int
    ask: Ask

    async def answering(self) -> Answering:
        held = await self._claim()
        if held.won:
            return await self._begin(held)
        if held.claim.body_digest != self.asked.body_digest(self.serving.idempotency.pepper):
            raise _conflict(
                ErrorCode.IDEMPOTENCY_KEY_REUSED,
                "This Idempotency-Key was used for another request. Send a new key with a new request.",
            )
        if held.claim.answered_at_ms is not None:
            answers = await self.serving.idempotency.answer_of(self.asked, held.claim, self.caller.tenant)
            if answers is not None:
                self._note("replayed", replay=True)
                now = self.serving.monotonic()
                return Answering([replayed(one, now) for one in answers], 0.0, placed=False)
        return await self._attach(held)

    async def _claim(self, *, replaces: str = "") -> Held:
        ids = [new_id(self.serving, self.kind) for _ in range(self.count)]
        return await self.serving.idempotency.claim(self.asked, ids, self.caller.tenant, replaces=replaces)

    async def _begin(self, held: Held) -> Answering:
        """Asks, for the first time."""
        keys = self.serving.idempotency
        try:
            self._require_fresh(held.claim)
            reply_streams = await self.ask(held.claim.request_ids)
        except BaseException:
            await keys.release(held)
            raise
        self._note("new")
        return self._recorded(held, reply_streams)

    async def _attach(self, held: Held) -> Answering:
        """Follows the requests of an earlier call, from their beginning."""
        reattacher, reply_streams = self.serving.reattacher, list[ReplyStream]()
        try:
            for request_id in held.claim.request_ids:
                found, origin = await self._found(request_id, held.claim)
                reply_streams.append(
                    await reattacher.join(found, origin, after=None, traceparent=traceparent_of(self.request))
                )
        except _NeverBegunError:
            return await self._anew(replaces=held.claim.claim_id)
        except ProblemError as error:
            for reply_stream in reply_streams:
                self.serving.registry.release(reply_stream, window_s=_IN_LOG_S)
            if error.problem.status == 404:
                raise _expired() from error
            raise
        if any(one.state.end and problem_of_end(one.state.end) for one in reply_streams):
            for reply_stream in reply_streams:
                self.serving.registry.release(reply_stream)
            await self.serving.idempotency.release(held)
            return await self._anew()
        self._note("attached", replay=True)
        return self._recorded(held, reply_streams)

    async def _anew(self, *, replaces: str = "") -> Answering:
        """Nothing came of the earlier call: asks in its place, unless another does."""
        held = await self._claim(replaces=replaces)
        if not held.won:
            raise _in_use()
        return await self._begin(held)

    def _recorded(self, held: Held, reply_streams: Sequence[ReplyStream]) -> Answering:
        self.serving.idempotency.record(self.asked, held, reply_streams)
        left = [one.request.deadline - self.serving.clock() for one in reply_streams]
        return Answering(reply_streams, max(0.0, *(one.total_seconds() for one in left)))

    async def _found(self, request_id: str, claim: Claim) -> tuple[InferenceRequested, LogPosition]:
        """The request in the log, as soon as it is there."""
        age_s = (self.serving.publisher.bus_clock.now_ms() - claim.at_ms) / 1000
        give_up = self.serving.monotonic() + (_BEGINS_WITHIN_S if age_s < _NEVER_BEGUN_S else 0)
        while True:
            try:
                return await self.serving.reattacher.find(request_id, self.caller)
            except ProblemError as error:
                if error.problem.status != 404 or age_s > _IN_LOG_S:
                    raise
                if age_s >= _NEVER_BEGUN_S:
                    raise _NeverBegunError from error
                if self.serving.monotonic() > give_up:
                    raise _in_use() from error
            await asyncio.sleep(_LOOK_EVERY_S)

    def _require_fresh(self, claim: Claim) -> None:
        """Another call may take the claim over a while after it was made: one that is
        slower than that must not ask any more.
        """
        made_at_ms = time_ms_of(claim.request_ids[0]) or 0
        if self.serving.publisher.bus_clock.now_ms() - made_at_ms > _STALE_S * 1000:
            raise unavailable("The idempotency key was not claimed in time. Try again.")

    def _note(self, how: str, *, replay: bool = False) -> None:
        metrics.GATEWAY_IDEMPOTENT.labels(how).inc()
        if replay:
            bind_answer_headers(self.request.scope, _REPLAYED)


class _NeverBegunError(Exception):
    """The requests of a claim never came into the log."""


def _asked(request: Request, caller: Principal, body: BaseModel, key: str) -> Asked:
    if not 0 < len(key) <= _MOST_CHARS or not key.isprintable():
        raise malformed(
            f"Idempotency-Key must be 1 to {_MOST_CHARS} printable characters.", "idempotency-key"
        )
    asked = body.model_dump(mode="json", exclude_unset=True)
    canonical = json.dumps([request.scope["path"], asked], sort_keys=True).encode()
    return Asked((caller.tenant, caller.key_id or caller.user), key, canonical)


def _conflict(code: ErrorCode, message: str) -> ProblemError:
    metrics.GATEWAY_IDEMPOTENT.labels(code.value).inc()
    return ProblemError(Problem(409, code, message, "idempotency-key", _NO_RETRY))


def _expired() -> ProblemError:
    return _conflict(
        ErrorCode.IDEMPOTENCY_KEY_EXPIRED,
        "This Idempotency-Key was answered, or begun, before; the answer is no longer kept. Nothing was "
        "generated again. Send a new key to have it generated anew.",
    )


def _in_use() -> ProblemError:
    metrics.GATEWAY_IDEMPOTENT.labels(ErrorCode.IDEMPOTENCY_KEY_IN_USE.value).inc()
    headers = (("retry-after", "1"), ("retry-after-ms", "1000"))
    message = "Another call with this Idempotency-Key has just begun. Try again in a second."
    return ProblemError(Problem(409, ErrorCode.IDEMPOTENCY_KEY_IN_USE, message, "idempotency-key", headers))
