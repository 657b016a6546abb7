"""When to set aside and when to halt."""

import base64
import hashlib
from collections.abc import Sequence

import pytest

from schemas.events.dead_letters import DeadLettered
from schemas.limits import MAX_RECORD_BYTES
from services.common.bus import Outgoing, Producer
from services.common.bus.dead_letters.dead_letter import (
    DeadLetters,
    Failure,
    InvalidShare,
    TooManyInvalidError,
)
from services.common.errors import PermanentError, RecordTooLargeError
from tests.support.analyzer.recorder_fakes import record
from tests.support.analyzer.recording import DLQ, EPOCH
from tests.support.bus.records import record as kafka_record


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


@pytest.mark.parametrize("size_bytes", [1_600_000, 2_090_000, 3_000_000])
async def test_set_aside_of_a_record_too_large_keeps_its_beginning_size_and_digest(size_bytes: int) -> None:
    """The consumer goes on; what was set aside can be recognised, and is not sent again
    by mistake.
    """
    letters, sent = _letters()
    value = b"ab" * (size_bytes // 2)
    large = kafka_record(value, key=b"k" * 5000, headers=[("x", b"y" * 900_000)])
    await letters.set_aside([Failure(large, PermanentError("no good" * 500))])
    payload = sent[0].payload()
    assert payload is not None
    assert len(payload) <= MAX_RECORD_BYTES
    letter = DeadLettered.model_validate_json(payload)
    assert (letter.value_bytes, letter.value_sha256) == (size_bytes, hashlib.sha256(value).hexdigest())
    assert value.startswith(base64.b64decode(letter.value))
    assert str(size_bytes) in letter.error


async def test_set_aside_broker_takes_less_than_we_do_cuts_the_letters() -> None:
    """Kafka may be configured otherwise than we ask; even then nothing stops."""
    sent: list[Outgoing] = []

    async def send(_producer: object, records: Sequence[Outgoing], _timeout_s: float) -> None:
        if any(len(one.payload() or b"") > 100_000 for one in records):
            raise RecordTooLargeError("by the broker's limit")
        sent.extend(records)

    letters = DeadLetters(Producer("nowhere", "test"), "test", clock=lambda: EPOCH, send=send)
    await letters.set_aside([Failure(kafka_record(b"x" * 200_000), PermanentError("no good"))])
    letter = DeadLettered.model_validate_json(sent[0].payload() or b"")
    assert letter.value_bytes == 200_000
