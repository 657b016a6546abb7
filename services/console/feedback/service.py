"""Taking a rating: whose request is it, and what goes onto the bus."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from uuid import uuid4

from schemas.errors import ErrorCode
from schemas.events.feedback import MAX_COMMENT_CHARS, MAX_CORRECTION_CHARS, FeedbackSubmitted
from schemas.topics import FEEDBACK
from services.common.bus import Outgoing
from services.common.clock import Clock
from services.common.control.principal import Principal, user_of
from services.common.errors import BusUnavailableError
from services.common.http.problems import Problem, ProblemError, unavailable
from services.common.requests.feedback import FeedbackBody
from services.common.requests.masking.recording import TextRecording
from services.console.feedback.request_lookup import RatedRequest


@dataclass
class FeedbackService:
    """Takes ratings of requests that the caller's tenant made."""

    find: Callable[[str, str], Awaitable[RatedRequest | None]]
    send: Callable[[Outgoing], Awaitable[object]]
    pseudonym_key: str = field(repr=False)
    clock: Clock
    texts: TextRecording = field(default_factory=TextRecording)

    async def submit(self, caller: Principal, body: FeedbackBody) -> FeedbackSubmitted:
        """Publishes a rating; returns once the bus has it.

        Raises:
            ProblemError: 404, no such request, or another tenant's: the answer is the
                same; 429, the tenant asks too much; 503, it cannot be told, or the bus
                does not take the rating.
        """
        rated = await self.find(body.request_id, caller.tenant)
        if rated is None or rated.tenant != caller.tenant:
            raise ProblemError(
                Problem(
                    404, ErrorCode.REQUEST_NOT_FOUND, "There is no such request for this key.", "request_id"
                )
            )
        comment, correction = await self.texts.remarks(caller.tenant, body.comment, body.correction)
        feedback = FeedbackSubmitted(
            feedback_id=uuid4().hex,
            request_id=body.request_id,
            tenant=caller.tenant,
            key_id=caller.key_id,
            user=user_of(caller, body.user, pseudonym_key=self.pseudonym_key),
            model=rated.model,
            rating=body.rating,
            comment=comment and comment[:MAX_COMMENT_CHARS],
            correction=correction and correction[:MAX_CORRECTION_CHARS],
            requested_at=rated.requested_at,
            submitted_at=self.clock(),
        )
        try:
            await self.send(
                Outgoing(FEEDBACK.name, feedback, subject=feedback.request_id, tenant=feedback.tenant)
            )
        except BusUnavailableError as error:
            raise unavailable(
                "The message bus did not take the rating in time. Send it again: the last one counts.",
                code=ErrorCode.BUS_UNAVAILABLE,
            ) from error
        return feedback
