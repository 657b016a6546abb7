"""One answer to a call that is made twice: the `Idempotency-Key` header."""

import asyncio
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass

from schemas.errors import ErrorCode
from schemas.inference import InferenceRequested, LogPosition, Outcome
from services.common.http.access_log import bind_answer_headers
from services.common.http.problems import NO_RETRY, Problem, ProblemError, malformed, retry_after, unavailable
from services.common.process import metrics
from services.common.requests.request_ids import time_ms_of
from services.gateway.admission.gate import PromptBlockedError
from services.gateway.bus.publisher import MayHaveBegunError
from services.gateway.handlers import Serving, begin
from services.gateway.http.request_input import Answering, Call
from services.gateway.problems import blocked, problem_of_end
from services.gateway.streams.admitted import Admitted
from services.gateway.streams.idempotency.claims import Claim
from services.gateway.streams.idempotency.keys import ClaimResult
from services.gateway.streams.idempotency.recording import RecordedAnswer, refused, replayed
from services.gateway.streams.idempotency.sealing import Asked, who_may_repeat
from services.gateway.streams.reply_stream import ReplyStream

_MOST_CHARS = 255
_BEGINS_WITHIN_S = 2.0
_SOON_S = 5.0
"""A gateway that runs asks so soon after its claim."""
_TURN_S = 5.0
_LOOK_EVERY_S = 0.2
_NEVER_BEGUN_S = 90.0
"""A request that the log has not by then never came into it."""
_IN_LOG_S = 14 * 60.0
_STALE_S = 20.0
_REPLAYED = (("idempotent-replayed", "true"),)


async def once(serving: Serving, call: Call) -> Answering:
    """Asks, or finds the answer of an earlier call with the same key and body.

    With a key the requests go on to their end when the client leaves: it may come back
    for the answer.

    Raises:
        ProblemError: the call is refused, nothing was begun; 400, the key is none; 409,
            it was used for another body, or the answer is no longer kept; 503, the log
            cannot be reached in time, or what was begun is not known.
    """
    key = call.request.headers.get("idempotency-key")
    if key is None:
        admitted = await serving.gate.admit(call.caller, call.make(), call.traceparent)
        return Answering(await begin(serving, admitted, call.traceparent), call.window_s)
    return await _KeyedCall(serving, call, _asked(call, key)).answering()


@dataclass(frozen=True, slots=True)
class _KeyedCall:
    """One call with a key."""

    serving: Serving
    call: Call
    asked: Asked

    async def answering(self) -> Answering:
        keys = self.serving.idempotency
        digest = self.asked.digest(keys.pepper)
        known = keys.claims.find(digest, keys.now_ms())
        if known is None:
            return await self._begin()
        return await self._answered(ClaimResult(digest, known, won=False))

    async def _begin(self, *, replaces: str = "", again: bool = False) -> Answering:
        """Asks, unless another call does: then its answer is this call's, too; where this
        happens `again`, the client shall come back.

        All that the call needs is taken before the key is claimed, so that a refusal
        leaves nothing in the log. Of several such calls at this gateway one does so at a
        time: where it claims the key, the others take nothing.
        """
        requests = self.call.make()
        for request in requests:
            self.serving.publisher.require(request)
        keys, admitted = self.serving.idempotency, list[Admitted]()
        digest = self.asked.digest(keys.pepper)
        async with keys.turns.of(digest, _TURN_S):
            known = keys.claims.find(digest, keys.now_ms())
            if known is not None and known.claim_id != replaces:
                held = ClaimResult(digest, known, won=False)
            else:
                admitted = await self._admit(requests, replaces)
                held = await self._claim(admitted, replaces)
        if held.won:
            return await self._publish(held, admitted)
        if again:
            raise _in_use()
        return await self._answered(held)

    async def _admit(self, requests: Sequence[InferenceRequested], replaces: str) -> list[Admitted]:
        """Lets the requests in. Where they are refused for what they are, the key is
        claimed before that is recorded: of several gateways one does.
        """
        held: ClaimResult | None = None

        async def claim(blocked: Sequence[InferenceRequested]) -> bool:
            nonlocal held
            held = await self._claim_for(blocked, replaces)
            return held.won

        try:
            return await self.serving.gate.admit(
                self.call.caller, requests, self.call.traceparent, may_end=claim
            )
        except ProblemError as error:
            if held is None:
                raise
            if (told := await self._refused(held, error)) is error:
                raise
            raise told from error

    async def _refused(self, held: ClaimResult, error: ProblemError) -> ProblemError:
        """The refusal is the key's answer from now on, unless another call with it was
        faster, which has one soon. The key is free again where no end could be recorded.
        """
        keys = self.serving.idempotency
        if not held.won:
            return _in_use()
        if isinstance(error, PromptBlockedError):
            await keys.keep_refusal(self.asked, held, [refused(one, error.end) for one in error.requests])
            self._note("new")
        else:
            await keys.release(held)
        return error

    async def _claim_for(self, requests: Sequence[InferenceRequested], replaces: str) -> ClaimResult:
        ids = [one.request_id for one in requests]
        return await self.serving.idempotency.claim(
            self.asked, ids, self.call.caller.tenant, replaces=replaces
        )

    async def _claim(self, admitted: Sequence[Admitted], replaces: str) -> ClaimResult:
        """Claims the key; unless that succeeds, all that was taken is given back."""
        held = None
        try:
            held = await self._claim_for([one.request for one in admitted], replaces)
        finally:
            if held is None or not held.won:
                for one in admitted:
                    one.give_back()
        return held

    async def _publish(self, held: ClaimResult, admitted: Sequence[Admitted]) -> Answering:
        """Asks. Only where nothing has begun for certain, the key is free again: else the
        next call with it looks for the requests in the log.
        """
        try:
            self._require_fresh(held.claim)
            for one in admitted:
                one.request = self.serving.requests.renewed(one.request)
            reply_streams = await begin(self.serving, admitted, self.call.traceparent)
        except MayHaveBegunError:
            raise
        except ProblemError:
            for one in admitted:
                one.give_back()
            await self.serving.idempotency.release(held)
            raise
        self._note("new")
        return self._recorded(held, reply_streams)

    async def _answered(self, held: ClaimResult) -> Answering:
        """The answer of an earlier call."""
        keys = self.serving.idempotency
        if held.claim.body_digest != self.asked.body_digest(keys.pepper):
            raise _conflict(
                ErrorCode.IDEMPOTENCY_KEY_REUSED,
                "This Idempotency-Key was used for another request. Send a new key with a new request.",
            )
        if held.claim.answered_at_ms is not None:
            answers = await keys.answer_of(self.asked, held.claim, self.call.caller.tenant)
            if answers is not None:
                self._note("replayed", replay=True)
                _require_served(answers)
                now = self.serving.monotonic()
                return Answering([replayed(one, now) for one in answers], 0.0, placed=False)
        return await self._attach(held)

    async def _attach(self, held: ClaimResult) -> Answering:
        """Follows the requests of an earlier call, from their beginning; asks in their
        place where nothing came of them.
        """
        reply_streams: list[ReplyStream] = []
        try:
            failed = await self._join(held.claim, reply_streams)
        except _NeverBegunError:
            self._release(reply_streams)
            return await self._begin(replaces=held.claim.claim_id, again=True)
        except BaseException as error:
            self._release(reply_streams, _IN_LOG_S)
            if isinstance(error, ProblemError) and error.problem.status == 404:
                raise _expired() from error
            raise
        if failed:
            self._release(reply_streams)
            await self.serving.idempotency.release(held)
            return await self._begin(again=True)
        self._note("attached", replay=True)
        return self._recorded(held, reply_streams)

    async def _join(self, claim: Claim, reply_streams: list[ReplyStream]) -> bool:
        """Adds a reply stream for each request of a claim; True as soon as one is known to
        have come to nothing, since then the others make no answer.
        """
        for request_id in claim.request_ids:
            found, origin = await self._found(request_id, claim)
            joined = await self.serving.reattacher.join(
                found, origin, after=None, traceparent=self.call.traceparent
            )
            reply_streams.append(joined)
            if joined.state.end and problem_of_end(joined.state.end):
                return True
        return False

    def _release(self, reply_streams: Sequence[ReplyStream], window_s: float = 0.0) -> None:
        for reply_stream in reply_streams:
            self.serving.registry.release(reply_stream, window_s=window_s)

    def _recorded(self, held: ClaimResult, reply_streams: Sequence[ReplyStream]) -> Answering:
        self.serving.idempotency.record(self.asked, held, reply_streams)
        left = [one.request.deadline - self.serving.clock() for one in reply_streams]
        return Answering(reply_streams, max(0.0, *(one.total_seconds() for one in left)))

    async def _found(self, request_id: str, claim: Claim) -> tuple[InferenceRequested, LogPosition]:
        """The request in the log, as soon as it is there."""
        age_s = (self.serving.publisher.bus_clock.now_ms() - claim.at_ms) / 1000
        give_up = self.serving.monotonic() + (_BEGINS_WITHIN_S if age_s < _NEVER_BEGUN_S else 0)
        while True:
            try:
                return await self.serving.reattacher.find(request_id, self.call.caller)
            except ProblemError as error:
                if error.problem.status != 404 or age_s > _IN_LOG_S:
                    raise
                if age_s >= _NEVER_BEGUN_S:
                    raise _NeverBegunError from error
                if self.serving.monotonic() > give_up:
                    raise _in_use(age_s) from error
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
            bind_answer_headers(self.call.request.scope, _REPLAYED)


class _NeverBegunError(Exception):
    """The requests of a claim never came into the log."""


def _asked(call: Call, key: str) -> Asked:
    if not 0 < len(key) <= _MOST_CHARS or not key.isprintable():
        raise malformed(
            f"Idempotency-Key must be 1 to {_MOST_CHARS} printable characters.", "idempotency-key"
        )
    asked = call.body.model_dump(mode="json", exclude_unset=True)
    canonical = json.dumps([call.request.scope["path"], asked], sort_keys=True).encode()
    caller = call.caller
    repeater = who_may_repeat(caller.tenant, key_id=caller.key_id, user=caller.user)
    return Asked(repeater, key, canonical)


def _conflict(code: ErrorCode, message: str) -> ProblemError:
    metrics.GATEWAY_IDEMPOTENT.labels(code.value).inc()
    return ProblemError(Problem(409, code, message, "idempotency-key", NO_RETRY))


def _require_served(answers: Sequence[RecordedAnswer]) -> None:
    """Passes where a kept answer is none that refuses the call.

    Raises:
        ProblemError: as the first call was told.
    """
    refused = [one for one in answers if one.end.outcome is Outcome.BLOCKED]
    if refused:
        requests = [one.request for one in refused]
        error = ProblemError(blocked(requests, refused[0].end))
        error.request_id = requests[0].request_id
        raise error


def _expired() -> ProblemError:
    return _conflict(
        ErrorCode.IDEMPOTENCY_KEY_EXPIRED,
        "This Idempotency-Key was answered, or begun, before; the answer is no longer kept. Nothing was "
        "generated again. Send a new key to have it generated anew.",
    )


def _in_use(age_s: float = 0.0) -> ProblemError:
    """409: the request of a claim of this age is not in the log yet. Where it should be
    long since, its gateway may be gone: then the key is free once that is certain.
    """
    metrics.GATEWAY_IDEMPOTENT.labels(ErrorCode.IDEMPOTENCY_KEY_IN_USE.value).inc()
    wait_s = 1 if age_s < _SOON_S else max(1, math.ceil(_NEVER_BEGUN_S - age_s))
    message = f"Another call with this Idempotency-Key has just begun. Try again in {wait_s} s."
    if age_s >= _SOON_S:
        message = (
            f"Another call with this Idempotency-Key began {age_s:.0f} s ago, and nothing is known of its "
            f"request; its gateway may have stopped. Nothing comes of it any more in {wait_s} s: then this "
            "call is answered."
        )
    return ProblemError(
        Problem(409, ErrorCode.IDEMPOTENCY_KEY_IN_USE, message, "idempotency-key", retry_after(wait_s))
    )
