"""A request through every message: what the door lets in passes each hop unchanged, and
fits.
"""

import base64
import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.envelope import Envelope
from schemas.events.dead_letters import DeadLettered
from schemas.inference import (
    STATUS,
    WORK,
    Delivered,
    End,
    InferenceCompleted,
    InferenceRequested,
    Lane,
    LogPosition,
    Outcome,
    ReplyEnded,
    ReplyTo,
    RequestFinished,
    WorkAssigned,
)
from schemas.limits import MARGIN_BYTES, MAX_ANSWER_BYTES, MAX_RECORD_BYTES, MAX_REQUEST_BYTES
from schemas.topics import COMPLETED
from services.analyzer.recorder.rows import process_message
from services.analyzer.recorder.tables.inference_completed import INFERENCE_COMPLETED
from services.common.bus import Outgoing, Producer, position_of
from services.common.bus.dead_letters.dead_letter import DeadLetters, Failure
from services.common.errors import PermanentError, RecordTooLargeError
from services.common.http.problems import ProblemError
from services.common.http.request_body import parse_json
from services.common.requests.completion import completed_event
from services.common.requests.masking.texts import texts_of, with_texts
from services.common.requests.model_catalogue import ModelConfig, Price
from services.gateway.bus.request_limits import encode_request
from services.gateway.openai.requests import ChatBody
from services.gateway.openai.sampling_params import chat_sampling
from tests.support.bus.records import record

NOW = datetime(2026, 11, 27, 12, tzinfo=UTC)
ORIGIN = LogPosition(topic="inference.requests.m.interactive.v1", partition=0, offset=2**40)
MODEL = ModelConfig.model_validate(
    {
        "name": "m",
        "engine": "openai_compatible",
        "options": {"model": "m"},
        "slots": 2,
        "context_length": 10**6,
    }
)
LONGEST = {
    "escaped": "\x00" * (MAX_ANSWER_BYTES // 6),
    "wide": "漢" * (MAX_ANSWER_BYTES // 3),
}


def through_the_door(body: bytes) -> InferenceRequested | int:
    """The request as it is published, or the status that refuses it."""
    try:
        chat = parse_json(body, ChatBody)
        request = InferenceRequested(
            request_id="chatcmpl-" + "0" * 32,
            kind="chat",
            model="m",
            lane=Lane.INTERACTIVE,
            tenant="t" * 64,
            key_id="k" * 8,
            user="u" * 64,
            messages=tuple(chat.messages),  # type: ignore[arg-type]
            sampling=chat_sampling(chat, MODEL, max_choices=16),
            stream=True,
            reply_to=ReplyTo(partition=63, gateway_id="g" * 64),
            requested_at=NOW,
            deadline=NOW + timedelta(seconds=300),
        )
        encode_request(request)
    except ProblemError as error:
        return error.problem.status
    return request


def pass_every_hop(request: InferenceRequested, answer: Sequence[str]) -> None:
    """Each message is read as it was written, and fits into a record."""
    assert InferenceRequested.model_validate_json(fits(request)) == request
    work = WorkAssigned(replica_id="m#0123456789ab", epoch=2**60, origin=ORIGIN, request=request)
    assert WORK.validate_json(fits(work)) == work
    delivered = tuple(Delivered(text=text, tokens=10**6, finish_reason="stop") for text in answer)
    retry = request.model_copy(update={"attempt": 2, "delivered": delivered, "previous": ORIGIN})
    assert InferenceRequested.model_validate_json(fits(retry)) == retry
    again = work.model_copy(update={"request": retry})
    assert WORK.validate_json(fits(again)) == again
    end = End(outcome=Outcome.COMPLETED, queue_ms=1.5, ttft_ms=2.5, generation_ms=1e15)
    finished = RequestFinished(
        replica_id="m#1", model="m", request_id=request.request_id, attempt=2, end=end, choices=delivered
    )
    assert STATUS.validate_json(fits(finished)) == finished
    told = ReplyEnded(
        request_id=request.request_id, tenant=request.tenant, attempt=2, end=end, choices=delivered
    )
    assert ReplyEnded.model_validate_json(fits(told)) == told
    ended = completed_event(retry, end, delivered, replica_id="m#1", price=Price(), now=NOW)
    completed = with_texts(ended, texts_of(retry, delivered))
    assert InferenceCompleted.model_validate_json(fits(completed)) == completed
    arrive(completed)


def arrive(completed: InferenceCompleted) -> None:
    """In the store, and should the store refuse it, whole among the dead letters."""
    envelope = Envelope.create(
        type_="tocsin.x", source="s", occurred_at=NOW, subject=completed.request_id, tenant=completed.tenant
    )
    stored = record(completed.encode(), key=b"k", topic=COMPLETED.name, headers=envelope.to_headers())
    row = process_message(INFERENCE_COMPLETED, stored.value, stored.headers, position_of(stored))
    assert completed.prompt_text in row
    letters = DeadLetters(Producer("nowhere:1", "t"), "recorder", clock=lambda: NOW)
    letter = letters._outgoing(Failure(stored, PermanentError("x" * 5000)))
    payload = letter.payload()
    assert payload is not None
    assert len(payload) <= MAX_RECORD_BYTES
    assert base64.b64decode(DeadLettered.model_validate_json(payload).value) == stored.value


def fits(message: Any) -> bytes:
    """The encoded message."""
    encoded: bytes = message.encode()
    assert len(encoded) <= MAX_RECORD_BYTES
    return encoded


_ODD_NUMBERS = [
    *("1e15", "1E15", "1e16", "1e400", "-1e400", "1e-400", "-0", "-0.0", "5e-324", "NaN", "Infinity", "0.1"),
    *("1.7976931348623157e308", "9007199254740993", "18446744073709551615", "18446744073709551616"),
    *("-9223372036854775809", "123456789012345678901234567890.5"),
]
_LONG_NUMBERS = ["1" * 400, "1" * 4300, "1" * 4301]
_ODD_STRINGS = [
    *(r'"\u0000"', r'"\ud800"', r'"\udc00\ud800"', r'"\ud83d\ude00"', r'"\u2028"', r'"\/"'),
    r'"\n\\\""',
]
NUMBERS = (
    st.sampled_from(_ODD_NUMBERS)
    | st.sampled_from(_LONG_NUMBERS)
    | st.integers().map(str)
    | st.floats(allow_nan=False).map(repr)
)
STRINGS = st.sampled_from(_ODD_STRINGS) | st.text(max_size=20).map(json.dumps)
LEAVES = NUMBERS | STRINGS | st.sampled_from(["null", "true", "false", "{}", "[]"])
VALUES = st.recursive(
    LEAVES,
    lambda inner: (
        st.lists(inner, max_size=4).map(lambda items: f"[{','.join(items)}]")
        | st.lists(st.tuples(STRINGS, inner), max_size=4).map(
            lambda pairs: "{" + ",".join(f"{key}:{value}" for key, value in pairs) + "}"
        )
    ),
    max_leaves=12,
)


def body_of(value: str, content: str = '"hi"') -> bytes:
    """A chat body with a JSON value where clients may put any: a tool's parameters."""
    tool = f'{{"type":"function","function":{{"name":"f","parameters":{value}}}}}'
    text = f'{{"model":"m","messages":[{{"role":"user","content":{content}}}],"tools":[{tool}]}}'
    return text.encode("utf-8", "surrogatepass")


@settings(max_examples=400, deadline=None)
@given(value=VALUES, content=STRINGS, answer=st.text(st.characters(exclude_categories=["Cs"]), max_size=50))
def test_any_json_is_refused_or_passes_every_hop_unchanged(value: str, content: str, answer: str) -> None:
    """Numbers beyond floats and 64 bits, halves of surrogate pairs, NUL: 400, or whole."""
    request = through_the_door(body_of(f'{{"x":{value}}}', content))
    if isinstance(request, int):
        assert request == 400
    else:
        pass_every_hop(request, [answer])


@pytest.mark.parametrize("depth", [1, 100, 170, *range(180, 206), 1000, 100_000])
@pytest.mark.parametrize("form", ["[", "{"])
def test_nesting_of_any_depth_is_refused_or_passes_every_hop(depth: int, form: str) -> None:
    """What can be read at the door can be read where it is wrapped in another message."""
    nested = "[" * depth + "]" * depth if form == "[" else '{"a":' * depth + "1" + "}" * depth
    request = through_the_door(body_of(f'{{"x":{nested}}}'))
    if isinstance(request, int):
        assert request == 400
        assert depth > 150
    else:
        assert depth < 200
        pass_every_hop(request, ["answer"])


def test_one_value_of_each_kind_passes_the_door() -> None:
    """The property above is not true for want of requests."""
    good = '{"a":[1e15,18446744073709551615,-0.0,"\\u0000","\\ud83d\\ude00",null,true]}'
    request = through_the_door(body_of(good, '"\\u0000"'))
    assert isinstance(request, InferenceRequested)
    assert request.sampling.tools[0]["function"]["parameters"]["a"][1] == 2**64 - 1
    pass_every_hop(request, ["\x00"])


@pytest.mark.parametrize("answer", [LONGEST["escaped"], LONGEST["wide"]], ids=["escaped", "wide"])
@pytest.mark.parametrize("filling", ["a", "\\u0000", "\\n", "é", "\\ud83d\\ude00"])
def test_largest_request_with_the_longest_answer_fits_everywhere(filling: str, answer: str) -> None:
    """From the body at the limit to the dead letter of its end."""
    low, high = 1, MAX_REQUEST_BYTES
    largest: InferenceRequested | None = None
    while low <= high:
        count = (low + high) // 2
        text = filling * min(count, 1_048_576)
        request = through_the_door(body_of("{}", f'"{text}"'))
        if isinstance(request, InferenceRequested):
            largest, low = request, count + 1
        else:
            assert request in (400, 413)
            high = count - 1
    assert largest is not None
    assert len(largest.encode()) > MAX_REQUEST_BYTES - MARGIN_BYTES
    pass_every_hop(largest, [answer])
    pass_every_hop(largest, [answer[: len(answer) // 16]] * 16)


def test_numbers_that_grow_when_encoded_anew_are_counted_as_they_travel() -> None:
    """`1e15` takes four times its size: a body below the limit, refused with 413."""
    body = body_of(f'{{"x":[{",".join(["1e15"] * 120_000)}]}}')
    assert len(body) < MAX_REQUEST_BYTES
    assert through_the_door(body) == 413


async def test_producer_refuses_what_never_fits_and_does_not_call_the_bus_away() -> None:
    """The caller can tell its own fault from Kafka's."""
    message = Delivered(text="a" * MAX_RECORD_BYTES)
    with pytest.raises(RecordTooLargeError, match="larger than Kafka takes"):
        await Producer("nowhere:1", "t").send_soon(Outgoing("topic", message, subject="s", tenant="t"))
