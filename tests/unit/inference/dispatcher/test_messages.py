"""What a dispatcher puts on the bus."""

from datetime import UTC, datetime

from schemas.base import AnswerHandling
from schemas.inference import InferenceRequested, Lane, LogPosition, ReplyTo, WorkAssigned
from services.inference.dispatcher.messages import work_record
from services.inference.domain.dispatch import Assign

NOW = datetime(2026, 11, 27, 12, tzinfo=UTC)


def test_replica_gets_nothing_that_only_gateways_can_use() -> None:
    """A masked prompt's values stay on the lane, however well they are sealed."""
    request = InferenceRequested(
        request_id="r",
        kind="chat",
        model="m",
        lane=Lane.INTERACTIVE,
        tenant="t",
        key_id="k",
        messages=({"role": "user", "content": "I am [EMAIL_1]"},),
        reply_to=ReplyTo(partition=0, gateway_id="g"),
        requested_at=NOW,
        deadline=NOW,
        answer=AnswerHandling(sealed="c2VhbGVk", leaks="cut"),
    )
    origin = LogPosition(topic="t", partition=0, offset=1)
    work = work_record(Assign("m#1", 0, request, origin, 0), epoch=1).value
    assert isinstance(work, WorkAssigned)
    assert work.request == request.model_copy(update={"answer": None})
