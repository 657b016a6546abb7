"""Request ids and the places in the log that clients reattach with."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.common.requests.request_ids import created_of, may_be_in_log, new_request_id, time_ms_of, uuid7
from services.gateway.openai.chunks import EventId, frame

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
NOON_MS = int(NOON.timestamp() * 1000)


@given(st.integers(0, 2**48 - 1), st.integers(0, 2**74 - 1))
def test_uuid7_is_one_and_gives_its_time_back(time_ms: int, random_bits: int) -> None:
    """Any time and any randomness make a UUID of version 7 and the RFC's variant."""
    made = UUID(uuid7(time_ms, random_bits))
    assert (made.version, made.variant) == (7, "specified in RFC 4122")
    assert time_ms_of(f"chatcmpl-{made.hex}") == time_ms


def test_uuid7_matches_the_rfcs_example() -> None:
    """RFC 9562, appendix A.6: 2022-02-22T14:22:22-05:00, rand_a CC3, rand_b
    18C4DC0C0C07398F.
    """
    assert uuid7(0x017F22E279B0, 0xCC3 << 62 | 0x18C4DC0C0C07398F) == "017f22e279b07cc398c4dc0c0c07398f"


@pytest.mark.parametrize(
    "text",
    ["", "chatcmpl-", "chatcmpl-" + "0" * 32, "x-" + uuid7(1, 1), "chatcmpl-" + uuid7(0xABC, 1).upper()],
)
def test_time_of_what_is_no_request_id_is_none(text: str) -> None:
    """Anything else is no request id."""
    assert time_ms_of(text) is None


def test_request_id_knows_its_age() -> None:
    """Created and expiry come from the id alone."""
    request_id = new_request_id("completion", time_ms=NOON_MS, random_bits=5)
    assert request_id.startswith("cmpl-")
    assert created_of(request_id) == NOON_MS // 1000
    made_at_ms = time_ms_of(request_id)
    assert made_at_ms == NOON_MS
    assert may_be_in_log(made_at_ms, NOON + timedelta(minutes=14), 900)
    assert not may_be_in_log(made_at_ms, NOON + timedelta(minutes=16), 900)


@given(st.integers(0, 2**48 - 1))
def test_request_id_of_any_time_has_an_answer(time_ms: int) -> None:
    """Years beyond what a date can hold are not in the log, and no error; nor is what
    is still to come.
    """
    made_at_ms = time_ms_of(new_request_id("chat", time_ms=time_ms, random_bits=0))
    assert made_at_ms == time_ms
    assert may_be_in_log(time_ms, NOON, 900) == (NOON_MS - 900_000 <= time_ms <= NOON_MS + 60_000)


@given(st.integers(0, 999), st.integers(0, 10**12), st.integers(0, 999))
def test_event_id_reads_what_frame_writes(partition: int, offset: int, chunk: int) -> None:
    """A block's id comes back as it went."""
    written = frame(b"{}", partition, offset, chunk).decode().splitlines()
    assert EventId.parse(written[0].removeprefix("id: ")) == EventId(partition, offset, chunk)
    assert written[1] == "data: {}"


@pytest.mark.parametrize("text", ["", "1", "1-2", "1-2.", "-1-2.3", "1-2.3 ", "1-2.3.4", "9" * 30 + "-1.1"])
def test_event_id_of_anything_else_is_none(text: str) -> None:
    """Only the exact form is an event id."""
    assert EventId.parse(text) is None
