"""Who is followed, and what is remembered of those who ended."""

import pytest
from prometheus_client import REGISTRY

from schemas.inference import End, InferenceRequested, Outcome, Usage
from services.common.http.problems import ProblemError
from services.common.process import metrics
from services.gateway.streams.admitted import Admitted
from services.gateway.streams.measurements import inter_token_s
from services.gateway.streams.tenant_slots import Slot
from tests.unit.gateway.streams.stage import DONE, chunk, lost, make_stage


def leave(places: list[Slot]) -> None:
    """They are free again; saying so twice changes nothing."""
    for place in (*places, *places):
        place.leave()


def test_ended_requests_are_remembered_within_bytes() -> None:
    """The oldest go first where many large ones end at once; nobody listens for them
    any more.
    """
    stage = make_stage(max_remembered_bytes=50_000)
    before = metrics.GATEWAY_FORGOTTEN_EARLY._value.get()
    streams = [stage.follow(prompt="x" * 20_000) for _ in range(5)]
    for reply_stream in streams:
        stage.hear(reply_stream, chunk(0, end=DONE))
        stage.registry.release(reply_stream)
    assert len(stage.reader._reply_streams[b"r"]) == 2
    assert metrics.GATEWAY_FORGOTTEN_EARLY._value.get() == before + 3
    stage.hear(streams[-1], lost())
    assert [one.attempt for one in stage.publisher.asked] == [2]


def test_small_requests_are_all_remembered_for_ten_seconds() -> None:
    """And then forgotten, bytes and all."""
    stage = make_stage()
    for _ in range(100):
        reply_stream = stage.follow()
        stage.hear(reply_stream, chunk(0, end=DONE))
        stage.registry.release(reply_stream)
    stage.pass_time(9)
    assert len(stage.reader._reply_streams[b"r"]) == 100
    stage.pass_time(1)
    assert not stage.reader._reply_streams
    assert stage.registry._ended_bytes == 0


def test_requests_beyond_the_bound_are_refused() -> None:
    """Those whose client left count until they are over."""
    stage = make_stage(max_in_flight=2)
    first, _ = stage.follow(), stage.follow()
    stage.registry.release(first, window_s=60)
    with pytest.raises(ProblemError) as caught:
        stage.registry.take_slots("t")
    assert caught.value.problem.code == "overloaded"
    stage.hear(first, chunk(0, end=DONE))
    stage.tick()
    stage.registry.take_slots("t")


def test_size_of_a_request_counts_all_its_text() -> None:
    """Prompt, messages in parts, tools and what was answered."""
    stage = make_stage()
    empty = stage.follow().size_bytes()
    parts = ({"role": "user", "content": [{"type": "text", "text": "x" * 10_000}]},)
    reply_stream = stage.follow()
    reply_stream.request = InferenceRequested.model_validate(
        {**reply_stream.request.model_dump(), "messages": parts}
    )
    assert reply_stream.size_bytes() > empty + 10_000
    stage.hear(reply_stream, chunk(0, "y" * 10_000))
    assert reply_stream.size_bytes() > empty + 20_000


def test_streams_that_wait_for_their_client_count_against_their_tenant() -> None:
    """A resume window is no way around a tenant's share; others still get in."""
    stage = make_stage(max_in_flight=9)
    leave(stage.registry.take_slots("small"))
    for _ in range(9):
        try:
            stage.registry.release(stage.follow(), window_s=300)
        except ProblemError:
            break
    assert (stage.registry.serving, stage.registry.followed) == (0, 8)
    with pytest.raises(ProblemError) as refused:
        stage.registry.take_slots("t")
    assert (refused.value.problem.status, refused.value.problem.code) == (429, "rate_limit_exceeded")
    assert "This tenant has 8 requests under way at this gateway, of 9" in refused.value.problem.message
    leave(stage.registry.take_slots("small"))
    stage.pass_time(301)
    assert stage.registry.followed == 0
    stage.registry.take_slots("t")


def test_call_with_more_prompts_than_places_is_refused_before_any_is_begun() -> None:
    """All of its requests need a place."""
    stage = make_stage(max_in_flight=3)
    leave(stage.registry.take_slots("t", 3))
    with pytest.raises(ProblemError) as refused:
        stage.registry.take_slots("t", 4)
    assert stage.registry.followed == 0
    assert refused.value.problem.code == "overloaded"


def measured(name: str, **labels: str) -> float:
    """A sample as /metrics has it."""
    return REGISTRY.get_sample_value(name, {"model": "m", **labels}) or 0.0


def test_request_is_measured_once_when_its_client_is_served_no_more() -> None:
    """How it ended, how long it took, its tokens, its time in the queue and between
    tokens; one that its client left counts, too; one that was taken up again does not.
    """
    names = ("llm_request_latency_seconds_sum", "llm_tokens_generated_total")
    names += ("tocsin_gateway_queue_seconds_sum", "tocsin_gateway_inter_token_seconds_sum")
    statuses = ("completed", "failed", "left")

    def now() -> list[float]:
        counts = [measured("llm_requests_total", status=status) for status in statuses]
        return [*(measured(name) for name in names), *counts]

    stage, before = make_stage(), now()
    end = End(
        outcome=Outcome.COMPLETED,
        usage=Usage(prompt_tokens=2, completion_tokens=11),
        queue_ms=500.0,
        ttft_ms=700.0,
        generation_ms=1200.0,
    )
    reply_stream = stage.follow()
    assert REGISTRY.get_sample_value("llm_active_requests") == 1
    stage.pass_time(1)
    stage.hear(reply_stream, chunk(0, end=end))
    for _ in range(2):
        stage.registry.release(reply_stream)
    assert REGISTRY.get_sample_value("llm_active_requests") == 0
    stage.registry.release(stage.follow())
    failed = stage.follow()
    stage.hear(failed, chunk(0, end=End(outcome=Outcome.FAILED)))
    stage.registry.release(failed)
    stage.registry.release(
        stage.registry.follow(Admitted(reply_stream.request), stage.reader, replaying=True), window_s=60
    )
    gained = [after - one for after, one in zip(now(), before, strict=True)]
    assert gained == pytest.approx([1, 11, 0.5, 0.1, 1, 1, 1])


@pytest.mark.parametrize(
    ("changed", "seconds"),
    [
        ({}, 0.1),
        ({"ttft_ms": 5000.0}, 0.0),
        ({"generation_ms": None}, None),
        ({"queue_ms": None}, None),
        ({"usage": Usage(completion_tokens=1)}, None),
    ],
)
def test_time_between_tokens_is_told_where_it_is_known(
    changed: dict[str, object], seconds: float | None
) -> None:
    """Between the first and the last; the wait for the first is no part of it."""
    end = End(
        outcome=Outcome.COMPLETED,
        usage=Usage(completion_tokens=11),
        queue_ms=500.0,
        ttft_ms=700.0,
        generation_ms=1200.0,
    )
    assert inter_token_s(end.model_copy(update=changed)) == pytest.approx(seconds)
