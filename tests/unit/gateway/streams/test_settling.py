"""Every request that is let in is settled with its limits, however it ends."""

from typing import Any

import pytest

from schemas.inference import End, Outcome, StreamTaken, Usage
from services.gateway.limits.limiter import Reservation
from services.gateway.streams.reply_stream import ReplyStream
from tests.unit.gateway.streams.stage import Stage, chunk

RESERVED = 50


class Ledger:
    """Keeps what requests were settled with: prompt and completion."""

    def __init__(self) -> None:
        self.settled: list[tuple[int, int]] = []

    def give_back(self, _reservation: Reservation) -> None:
        self.settled.append((0, 0))

    def settle(self, _request: Any, _reservation: Reservation, *, prompt: int, completion: int) -> None:
        self.settled.append((prompt, completion))


@pytest.fixture
def ledger() -> Ledger:
    """Nothing settled yet."""
    return Ledger()


def follow(stage: Stage, ledger: Ledger, **fields: Any) -> ReplyStream:
    """A request that was let in, with four tokens of prompt by the estimate."""
    reserved: Any = (ledger, Reservation(RESERVED, ()))
    return stage.follow(prompt="twelve chars", reserved=reserved, **fields)


def ended(outcome: Outcome = Outcome.COMPLETED, *tokens: int) -> End:
    """An end with its usage."""
    prompt, completion = tokens or (0, 0)
    return End(outcome=outcome, usage=Usage(prompt_tokens=prompt, completion_tokens=completion))


def test_completed_request_is_settled_with_its_usage_once(stage: Stage, ledger: Ledger) -> None:
    """What the model counted, not what was estimated; forgetting it later adds nothing."""
    reply_stream = follow(stage, ledger)
    stage.hear(reply_stream, chunk(0, end=ended(Outcome.COMPLETED, 7, 20)))
    assert ledger.settled == []
    stage.registry.release(reply_stream)
    stage.pass_time(20)
    assert ledger.settled == [(7, 20)]


def test_failed_request_is_settled_with_what_was_delivered(stage: Stage, ledger: Ledger) -> None:
    """An end without usage does not make the text free."""
    reply_stream = follow(stage, ledger)
    stage.hear(reply_stream, chunk(0))
    stage.hear(reply_stream, chunk(1, end=ended(Outcome.FAILED)))
    stage.registry.release(reply_stream)
    assert ledger.settled == [(0, 2)]


def test_request_whose_client_left_is_settled_when_it_is_cancelled(stage: Stage, ledger: Ledger) -> None:
    """With the prompt, as estimated, and what was heard; its resume window counts till
    then.
    """
    reply_stream = follow(stage, ledger)
    stage.hear(reply_stream, chunk(0))
    stage.hear(reply_stream, chunk(1))
    stage.registry.release(reply_stream, window_s=5)
    stage.pass_time(1)
    assert ledger.settled == []
    stage.pass_time(5)
    assert (ledger.settled, len(stage.publisher.cancelled)) == ([(4, 2)], 1)


def test_request_that_was_left_before_anything_began_takes_nothing(stage: Stage, ledger: Ledger) -> None:
    """It is taken back in the queue."""
    stage.registry.release(follow(stage, ledger))
    stage.pass_time(1)
    assert ledger.settled == [(0, 0)]


def test_request_that_the_bus_did_not_take_takes_nothing(stage: Stage, ledger: Ledger) -> None:
    """Nothing came of it."""
    stage.registry.forget(follow(stage, ledger))
    assert ledger.settled == [(0, 0)]


def test_stream_that_another_gateway_serves_keeps_its_reservation(stage: Stage, ledger: Ledger) -> None:
    """It goes on there, where nobody reserves for it again."""
    reply_stream = follow(stage, ledger)
    stage.hear(reply_stream, StreamTaken(request_id="r", gateway_id="other", follower_id="f"))
    stage.registry.release(reply_stream)
    assert ledger.settled == [(RESERVED, 0)]


def test_stopping_gateway_settles_everything(stage: Stage, ledger: Ledger) -> None:
    """Served, left or ended: nothing stays reserved."""
    served, left, over = (follow(stage, ledger) for _ in range(3))
    stage.registry.release(left, window_s=60)
    stage.hear(over, chunk(0, end=ended(Outcome.COMPLETED, 1, 1)))
    stage.registry.release(over)
    stage.hear(served, chunk(0))
    stage.registry.settle_all()
    assert sorted(ledger.settled) == [(0, 0), (1, 1), (4, 1)]
    stage.registry.release(served)
    stage.pass_time(1)
    assert len(ledger.settled) == 3
