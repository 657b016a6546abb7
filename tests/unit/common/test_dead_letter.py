"""When to set aside and when to halt."""

import base64
from collections.abc import Sequence

import pytest

from schemas.dead_letters import DeadLettered
from services.common.bus import Outgoing, Producer, Record
from services.common.dead_letter import DeadLetters, Failure, InvalidShare, TooManyInvalidError
from services.common.errors import PermanentError, TransientError
from tests.support.recorder_fakes import record
from tests.support.recording import DLQ, EPOCH


def _letters() -> tuple[DeadLetters, list[Outgoing]]:
    sent: list[Outgoing] = []

    async def send(_producer: object, records: Sequence[Outgoing], _timeout_s: float) -> None:
        sent.extend(records)

    return DeadLetters(Producer("nowhere", "test"), "test", clock=lambda: EPOCH, send=send), sent


def test_invalid_share_at_the_limit_goes_on_and_above_it_halts() -> None:
    """Exactly half of the window is tolerated; one more is not."""
    share = InvalidShare(0.5, window=10, minimum=3)
    for number in range(10):
        share.observe(valid=number % 2 == 0)
    with pytest.raises(TooManyInvalidError, match="6 of the last 10"):
        share.observe(valid=False)  # the oldest, a valid one, leaves


def test_invalid_share_below_the_minimum_never_halts() -> None:
    """The first few messages of a topic prove nothing."""
    share = InvalidShare(0.5, window=100, minimum=20)
    for _ in range(19):
        share.observe(valid=False)
    with pytest.raises(TooManyInvalidError):
        share.observe(valid=False)


def test_invalid_share_forgets_what_left_the_window() -> None:
    """A bad spell long ago does not count."""
    share = InvalidShare(0.5, window=10, minimum=5)
    for _ in range(4):
        share.observe(valid=False)
    for _ in range(10):
        share.observe(valid=True)
    for _ in range(5):
        share.observe(valid=False)


async def test_set_aside_keeps_the_record_whole() -> None:
    """Value, headers, place and the producer's count can all be had back."""
    letters, sent = _letters()
    original = record(4, 17, valid=False)
    await letters.set_aside([Failure(original, PermanentError("no good"), 3)])
    letter = sent[0].value
    assert isinstance(letter, DeadLettered)
    assert sent[0].topic == DLQ
    assert base64.b64decode(letter.value) == original.value
    assert [(name, base64.b64decode(value)) for name, value in letter.headers] == list(original.headers)
    assert (letter.offset, letter.sequence, letter.attempts, letter.error) == (17, 4, 3, "no good")


@pytest.mark.parametrize(("error", "calls"), [(TransientError("later"), 3), (PermanentError("never"), 1)])
async def test_handle_of_a_failing_record_sets_it_aside_after_bounded_attempts(
    error: Exception, calls: int
) -> None:
    """Transient failures are tried again, permanent ones are not."""
    letters, sent = _letters()
    made: list[Record] = []

    async def handler(one: Record) -> None:
        made.append(one)
        raise error

    await letters.handle(record(0, 0), handler, share=InvalidShare(), attempts=3)
    assert len(made) == calls
    assert len(sent) == 1


async def test_handle_of_a_defect_of_ours_raises_it() -> None:
    """A bug must not empty a topic into the dead letters."""
    letters, sent = _letters()

    async def handler(_: Record) -> None:
        raise KeyError("bug")

    with pytest.raises(KeyError):
        await letters.handle(record(0, 0), handler, share=InvalidShare())
    assert not sent
