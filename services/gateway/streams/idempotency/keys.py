"""Idempotency keys over all gateways: claimed in the log before anything is asked, and
settled with the answer when it has come.

A claim counts once it is read back: the log's order decides between gateways that
claim one key at the same moment.
"""

import asyncio
import hmac
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from uuid import uuid4

import structlog
from pydantic import ValidationError

from schemas.errors import ErrorCode
from schemas.events.gateways.idempotency import (
    ANSWER_KEPT,
    KEY_EVENT,
    AnswerKept,
    AnyKeyEvent,
    KeyClaimed,
    KeyReleased,
    KeySettled,
)
from schemas.inference import End, Piece
from schemas.topics import IDEMPOTENCY_ANSWERS, IDEMPOTENCY_CLAIMS
from services.common.bus import MessageReader, Outgoing, Producer, Start, Tail
from services.common.bus.consumers.log_scan import LogScans
from services.common.errors import BusUnavailableError, PermanentError, TransientError
from services.common.http.problems import unavailable
from services.common.process import metrics
from services.common.requests.request_finder import cannot_look_up
from services.common.requests.shared_room import SharedRoom
from services.gateway.problems import problem_of_end
from services.gateway.streams.idempotency.claims import Claim, Claims
from services.gateway.streams.idempotency.recording import RECORDED, RecordedAnswer, Recorder
from services.gateway.streams.idempotency.sealing import Asked
from services.gateway.streams.idempotency.turns import Turns
from services.gateway.streams.reply_stream import Listener, ReplyStream

log = structlog.get_logger(__name__)

Work = Callable[[], Awaitable[None]]

_SETTLE_TIMEOUT_S = 30.0
_TRIES = 3
_AROUND_MS = 60_000
"""An answer lies in the log at most so long before its key was settled."""
_AT_ONCE = 4
"""Answers that are sealed and sent at the same time; each is copied a few times."""
_MOST_SETTLING = 10_000


def idempotency_secret(pepper: str) -> bytes:
    """What keys are digested and answers sealed with, derived from the keys' pepper."""
    return hmac.digest(pepper.encode(), b"tocsin idempotency 1", "sha256")


@dataclass(frozen=True, slots=True)
class ClaimResult:
    """What a claim came to: `won` means that this call shall ask now."""

    digest: str
    claim: Claim
    won: bool


@dataclass
class IdempotencyKeys:
    """Follows the keys of the last day."""

    tail: Tail
    producer: Producer
    scans: LogScans
    pepper: bytes = field(repr=False)
    now_ms: Callable[[], int]
    claims: Claims
    room: SharedRoom
    claim_timeout_s: float = 5.0
    _waiting: "dict[str, set[asyncio.Future[None]]]" = field(default_factory=dict, init=False)
    """Who waits until a claim, or its release, is read back."""
    turns: Turns = field(default_factory=Turns, init=False)
    _settling: "set[asyncio.Task[None]]" = field(default_factory=set, init=False)
    _concluding: set[str] = field(default_factory=set, init=False)
    """Claims whose answer or release is on its way to the log."""
    _sealing: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(_AT_ONCE), init=False)
    _messages: "MessageReader[AnyKeyEvent]" = field(
        default_factory=lambda: MessageReader(KEY_EVENT, IDEMPOTENCY_CLAIMS.name), init=False
    )
    _answers: "MessageReader[AnswerKept]" = field(
        default_factory=lambda: MessageReader(ANSWER_KEPT, IDEMPOTENCY_ANSWERS.name), init=False
    )

    async def start(self) -> None:
        """Connects. What there is, `run` reads: a call with a key waits for it.

        Raises:
            BusUnavailableError: no broker, or no such topic.
        """
        await self.tail.start([0], Start.BEGINNING)

    async def run(self) -> None:
        """Follows the claims, until cancelled."""
        while True:
            for record in await self.tail.poll():
                event = self._messages.read(record)
                if event is None:
                    continue
                self.claims.take(event, record.timestamp)
                for waiting in self._waiting.pop(_awaited_as(event), ()):
                    if not waiting.done():
                        waiting.set_result(None)
            if self.claims.forgotten:
                metrics.GATEWAY_IDEMPOTENCY_FORGOTTEN.inc(self.claims.forgotten)
                self.claims.forgotten = 0

    async def close(self) -> None:
        """Waits for what is being settled, and disconnects."""
        if self._settling:
            await asyncio.wait(self._settling, timeout=self.claim_timeout_s)
        for task in self._settling:
            task.cancel()
        await self.tail.close()

    async def claim(
        self, asked: Asked, request_ids: Sequence[str], tenant: str, *, replaces: str = ""
    ) -> ClaimResult:
        """Claims a key, or finds who holds it.

        Raises:
            ProblemError: 503, the log did not take the claim, or could not be read, in
                time.
        """
        digest = asked.digest(self.pepper)
        for _ in range(_TRIES):
            held = self.claims.find(digest, self.now_ms())
            if held is not None and held.claim_id != replaces:
                return ClaimResult(digest, held, won=False)
            wanted = KeyClaimed(
                digest=digest,
                body_digest=asked.body_digest(self.pepper),
                claim_id=uuid4().hex,
                replaces=replaces,
                request_ids=tuple(request_ids),
                tenant=tenant,
            )
            await self._read_back(wanted)
            held = self.claims.find(digest, self.now_ms())
            if held is not None:
                return ClaimResult(digest, held, won=held.claim_id == wanted.claim_id)
        raise unavailable("Other calls with this idempotency key come to nothing meanwhile. Try again.")

    async def _read_back(self, wanted: KeyClaimed) -> None:
        """Publishes a claim, and returns once it and all before it are known here."""
        try:
            await self._publish_and_read_back(wanted)
        except (TimeoutError, BusUnavailableError, PermanentError) as error:
            release = KeyReleased(digest=wanted.digest, claim_id=wanted.claim_id)
            self._settle_later(lambda: self._publish(release))
            raise unavailable(
                "The idempotency key could not be claimed in time; nothing was begun. Try again.",
                code=ErrorCode.BUS_UNAVAILABLE,
            ) from error

    async def _publish_and_read_back(self, event: AnyKeyEvent) -> None:
        """Publishes an event, and returns once it and all before it are known here.

        Raises:
            TimeoutError: not in time.
            BusUnavailableError, PermanentError: the log does not take it.
        """
        read_back = asyncio.get_running_loop().create_future()
        waiting = self._waiting.setdefault(_awaited_as(event), set())
        waiting.add(read_back)
        try:
            async with asyncio.timeout(self.claim_timeout_s):
                await self._publish(event)
                await read_back
        finally:
            waiting.discard(read_back)
            if not waiting and self._waiting.get(_awaited_as(event)) is waiting:
                del self._waiting[_awaited_as(event)]

    async def release(self, held: ClaimResult) -> None:
        """Nothing came of the call: the key may be used again, here once this returns.
        Where the log does not take it in time, the claim goes on holding.
        """
        try:
            await self._publish_and_read_back(_release_of(held))
        except (TimeoutError, BusUnavailableError, PermanentError) as error:
            _not_settled(error)

    async def keep_refusal(self, asked: Asked, held: ClaimResult, refused: Sequence[RecordedAnswer]) -> None:
        """Keeps that a call was refused for what it is, as its answer; it is known here
        once this returns. Where the log does not take it in time, the same call is told
        for 90 s that the key is in use.
        """
        try:
            async with asyncio.timeout(self.claim_timeout_s):
                answer_id = await self._keep_answer(asked, held, tuple(refused), refused[0].request.tenant)
            await self._publish_and_read_back(
                KeySettled(digest=held.digest, claim_id=held.claim.claim_id, answer_id=answer_id)
            )
        except (TimeoutError, BusUnavailableError, PermanentError) as error:
            _not_settled(error)

    def record(self, asked: Asked, held: ClaimResult, reply_streams: Sequence[ReplyStream]) -> None:
        """Keeps the answer, when it has come whole; releases the key where it ends
        otherwise.
        """
        recorders = [Recorder(reply_stream.request, self.room) for reply_stream in reply_streams]

        def listener(recorder: Recorder) -> Listener:
            def hear(pieces: tuple[Piece, ...], end: End | None) -> None:
                recorder.hear(pieces, end)
                if end is not None:
                    self._on_end(asked, held, recorders)

            return hear

        for recorder, reply_stream in zip(recorders, reply_streams, strict=True):
            reply_stream.listen(listener(recorder))

    async def answer_of(self, asked: Asked, claim: Claim, tenant: str) -> tuple[RecordedAnswer, ...] | None:
        """The answer that is kept for a claim; None where it is not kept, or cannot be
        opened, or was written by a version that says it otherwise.

        Raises:
            ProblemError: 429, the tenant looks up too much; 503, the log cannot be read.
        """
        partition = claim.answer_id.partition("-")[0]
        if not partition.isdecimal() or claim.answered_at_ms is None:
            return None
        try:
            records = await self.scans.of(IDEMPOTENCY_ANSWERS.name, int(partition)).records_of(
                claim.answer_id.encode(),
                claim.answered_at_ms - _AROUND_MS,
                tenant=tenant,
                within_ms=2 * _AROUND_MS,
            )
        except TransientError as error:
            raise cannot_look_up(error) from error
        for record in records:
            kept = self._answers.read(record)
            plain = None if kept is None else asked.open(self.pepper, claim.answer_id, kept.sealed)
            if plain is not None and (answer := _recorded_in(plain)) is not None:
                return answer
        return None

    def _on_end(self, asked: Asked, held: ClaimResult, recorders: Sequence[Recorder]) -> None:
        """All calls of a claim hear the end here: the first of them concludes it."""
        ends = [one.end for one in recorders if one.end is not None]
        failed = any(problem_of_end(end) is not None for end in ends)
        if not failed and len(ends) < len(recorders):
            return
        if self._is_concluded(held.digest, held.claim.claim_id):
            _close(recorders)
        elif failed:
            self._conclude(held, recorders, lambda: self._publish(_release_of(held)))
        elif any(one.crowded_out for one in recorders):
            _close(recorders)
            metrics.GATEWAY_IDEMPOTENT.labels("crowded_out").inc()
        else:
            self._conclude(held, recorders, lambda: self._keep(asked, held, recorders))

    def _is_concluded(self, digest: str, claim_id: str) -> bool:
        held = self.claims.find(digest, self.now_ms())
        answered = held is not None and held.claim_id == claim_id and held.answered_at_ms is not None
        return answered or claim_id in self._concluding

    def _conclude(self, held: ClaimResult, recorders: Sequence[Recorder], work: Work) -> None:
        claim_id, task = held.claim.claim_id, self._settle_later(work)
        if task is None:
            _close(recorders)
            return

        def concluded(_: object) -> None:
            self._concluding.discard(claim_id)
            _close(recorders)

        self._concluding.add(claim_id)
        task.add_done_callback(concluded)

    async def _keep(self, asked: Asked, held: ClaimResult, recorders: Sequence[Recorder]) -> None:
        answers = tuple(answer for one in recorders if (answer := one.recorded()) is not None)
        whole = answers if len(answers) == len(recorders) else ()
        async with self._sealing:
            answer_id = await self._keep_answer(asked, held, whole, recorders[0].tenant)
        await self._publish(KeySettled(digest=held.digest, claim_id=held.claim.claim_id, answer_id=answer_id))

    async def _keep_answer(
        self, asked: Asked, held: ClaimResult, answers: tuple[RecordedAnswer, ...], tenant: str
    ) -> str:
        """Seals an answer and puts it into the log; gives its id, or "" where it is too
        large. There are no `answers` where one was.
        """
        sealed = None
        partitions = await self.producer.partitions(IDEMPOTENCY_ANSWERS.name)
        partition = int(held.digest[:8], 16) % partitions
        answer_id = f"{partition}-{uuid4().hex}"
        if answers:
            plain = RECORDED.dump_json(answers, exclude_none=True)
            sealed = await asyncio.to_thread(asked.seal, self.pepper, answer_id, plain)
        if sealed is None:
            metrics.GATEWAY_IDEMPOTENT.labels("answer_too_large").inc()
            return ""
        kept = AnswerKept(answer_id=answer_id, tenant=tenant, sealed=sealed)
        await self.producer.send(
            Outgoing(IDEMPOTENCY_ANSWERS.name, kept, subject=answer_id, tenant=tenant, partition=partition)
        )
        return answer_id

    async def _publish(self, event: AnyKeyEvent) -> None:
        await self.producer.send(
            Outgoing(IDEMPOTENCY_CLAIMS.name, event, subject=event.digest, tenant="", partition=0)
        )

    def _settle_later(self, work: Work) -> "asyncio.Task[None] | None":
        """Does it beside; None where too much is being settled already."""
        if len(self._settling) >= _MOST_SETTLING:
            _not_settled(TransientError(f"{_MOST_SETTLING} are being settled already"))
            return None

        async def bounded() -> None:
            try:
                async with asyncio.timeout(_SETTLE_TIMEOUT_S):
                    await work()
            except (TimeoutError, BusUnavailableError, PermanentError) as error:
                _not_settled(error)

        task = asyncio.create_task(bounded())
        self._settling.add(task)
        task.add_done_callback(self._settling.discard)
        return task


def _awaited_as(event: AnyKeyEvent) -> str:
    """Under which name somebody waits for an event of a claim to be read back: whoever
    waits for its release is not told by its answer.
    """
    return f"{event.claim_id} settled" if isinstance(event, KeySettled) else event.claim_id


def _close(recorders: Sequence[Recorder]) -> None:
    for recorder in recorders:
        recorder.close()


def _recorded_in(plain: bytes) -> tuple[RecordedAnswer, ...] | None:
    """An answer as it was recorded; None, counted, where this version cannot read it."""
    try:
        return RECORDED.validate_json(plain)
    except ValidationError as error:
        metrics.BUS_SKIPPED.labels(IDEMPOTENCY_ANSWERS.name, "unreadable").inc()
        log.warning("kept_answer_unreadable", problems=error.error_count())
        return None


def _release_of(held: ClaimResult) -> KeyReleased:
    return KeyReleased(digest=held.digest, claim_id=held.claim.claim_id)


def _not_settled(error: BaseException) -> None:
    metrics.GATEWAY_IDEMPOTENT.labels("not_settled").inc()
    log.warning("idempotency_key_not_settled", error=repr(error))
