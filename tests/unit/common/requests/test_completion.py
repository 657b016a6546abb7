"""What a request costs, and what its end says."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from schemas.events.security import PromptRisk
from schemas.inference import (
    Delivered,
    End,
    ErrorDetail,
    InferenceRequested,
    Lane,
    Outcome,
    ReplyTo,
    Usage,
)
from services.common.requests.completion import completed_event
from services.common.requests.model_catalogue import Price

NOW = datetime(2026, 11, 27, 12, tzinfo=UTC)
PRICE = Price(input_per_million_usd=Decimal("0.15"), output_per_million_usd=Decimal("0.60"))
REQUEST = InferenceRequested(
    request_id="cmpl-1",
    kind="chat",
    model="m",
    lane=Lane.INTERACTIVE,
    tenant="acme",
    key_id="key00001",
    user="u_1",
    messages=(
        {"role": "user", "content": "hello"},
        {"role": "user", "content": [{"type": "text", "text": "you"}]},
    ),
    reply_to=ReplyTo(partition=0, gateway_id="g"),
    requested_at=NOW - timedelta(milliseconds=250),
    deadline=NOW + timedelta(seconds=30),
)


@pytest.mark.parametrize("outcome", list(Outcome))
def test_end_without_tokens_costs_nothing_whatever_the_outcome(outcome: Outcome) -> None:
    """A blocked or refused request is an end like any other, and is free."""
    end = End(outcome=outcome, error=ErrorDetail(status=400, code="prompt_injection", message="no"))
    event = completed_event(REQUEST, end, (), replica_id="", price=PRICE, now=NOW)
    assert (event.outcome, event.error_code, event.cost_usd) == (outcome, "prompt_injection", Decimal(0))
    assert (event.duration_ms, event.tokens_per_s, event.replica_id) == (250.0, None, "")
    assert (event.tenant, event.key_id, event.user) == ("acme", "key00001", "u_1")


def test_end_has_no_texts_but_tells_their_lengths() -> None:
    """Whoever publishes it as it is tells nothing of what was said."""
    end = End(outcome=Outcome.COMPLETED, usage=Usage(prompt_tokens=2, completion_tokens=3), generation_ms=100)
    choices = (Delivered(text="one", tokens=2, finish_reason="stop"), Delivered(text="two", tokens=1))
    event = completed_event(REQUEST, end, choices, replica_id="r", price=PRICE, now=NOW)
    assert (event.prompt_chars, event.response_chars) == (9, 6)
    assert (event.prompt_text, event.response_text, event.prompt_parts) == (None, None, ())
    assert (event.finish_reasons, event.tokens_per_s) == (("stop",), pytest.approx(30.0))


def test_times_of_a_request_that_was_taken_up_again_are_the_clients() -> None:
    """Queue and first token are those of the attempt that gave it, the rate is of what
    the last attempt generated in its time.
    """
    delivered = (Delivered(text="abc", tokens=30), Delivered(text="d", tokens=10))
    again = REQUEST.model_copy(
        update={"attempt": 2, "delivered": delivered, "queue_ms": 3.0, "ttft_ms": 40.0}
    )
    end = End(
        outcome=Outcome.COMPLETED,
        usage=Usage(prompt_tokens=5, completion_tokens=60),
        queue_ms=2_000.0,
        ttft_ms=2_100.0,
        generation_ms=500.0,
    )
    event = completed_event(again, end, (), replica_id="b", price=PRICE, now=NOW)
    assert (event.queue_ms, event.ttft_ms, event.tokens_per_s) == (3.0, 40.0, 40.0)
    none_seen = REQUEST.model_copy(update={"attempt": 2})
    event = completed_event(none_seen, end, (), replica_id="b", price=PRICE, now=NOW)
    assert (event.queue_ms, event.ttft_ms) == (2_000.0, 2_100.0)


def test_end_tells_the_risk_that_its_request_has() -> None:
    """Whoever makes the end, and whatever became of the request."""
    risk = PromptRisk(level="high", score=13.5, action="flagged", categories=("jailbreak",))
    asked = REQUEST.model_copy(update={"risk": risk})
    for outcome in Outcome:
        end = End(outcome=outcome)
        event = completed_event(asked, end, (), replica_id="", price=PRICE, now=NOW)
        assert event.risk == risk
