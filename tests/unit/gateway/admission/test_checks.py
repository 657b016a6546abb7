"""Which requests no model sees."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from schemas.control import ModelChanged
from schemas.inference import InferenceRequested, Lane, Outcome, ReplyTo
from services.common.control.state import ControlState
from services.gateway.admission.checks import queue_headers, refusal, too_late
from services.gateway.problems import problem_of_end
from services.gateway.streams.queue_positions import QueuePosition

NOW = datetime(2026, 11, 27, 12, tzinfo=UTC)
REQUEST = InferenceRequested(
    request_id="cmpl-1",
    kind="completion",
    model="m",
    lane=Lane.INTERACTIVE,
    tenant="acme",
    key_id="key00001",
    prompt="hello",
    reply_to=ReplyTo(partition=0, gateway_id="g"),
    requested_at=NOW,
    deadline=NOW + timedelta(seconds=30),
)


@pytest.mark.parametrize(
    ("fields", "refused"),
    [
        ({"enabled": False}, True),
        ({"enabled": True}, False),
        ({"enabled": False, "deleted_at": NOW}, False),
        ({"enabled": False, "model": "other"}, False),
    ],
)
def test_request_for_a_model_that_is_switched_off_is_refused(fields: dict[str, Any], refused: bool) -> None:  # noqa: FBT001
    """Its own model, switched off and not deleted."""
    entry = ModelChanged(**({"model": "m"} | fields))
    found = refusal(ControlState(models={entry.model: entry}), REQUEST)
    assert (found is not None) is refused


def test_refused_request_is_blocked_and_not_to_be_sent_again() -> None:
    """403 with the model as its parameter; SDKs do not retry."""
    entry = ModelChanged(model="m", enabled=False)
    found = refusal(ControlState(models={"m": entry}), REQUEST)
    assert found is not None
    end, problem = found
    assert end.outcome is Outcome.BLOCKED
    assert problem == problem_of_end(end)
    assert (problem.status, problem.code, problem.param) == (403, "model_disabled", "model")
    assert ("x-should-retry", "false") in problem.headers
    assert refusal(ControlState(), REQUEST) is None


@pytest.mark.parametrize(
    ("place", "wait_s"),
    [
        (None, None),
        (QueuePosition(900, None), None),
        (QueuePosition(300, 30_000.0), None),
        (QueuePosition(301, 30_100.0), "1"),
        (QueuePosition(450, 45_000.0), "15"),
        (QueuePosition(10**6, 1e8), "60"),
    ],
)
def test_request_that_cannot_begin_before_its_deadline_is_refused_at_once(
    place: QueuePosition | None, wait_s: str | None
) -> None:
    """503 with the time after which it might; never where nothing is known."""
    problem = too_late(REQUEST, place)
    if wait_s is None:
        assert problem is None
        return
    assert problem is not None
    assert (problem.status, problem.code) == (503, "overloaded")
    assert f"would be number {place.position}" in problem.message if place else False
    assert dict(problem.headers) == {"retry-after": wait_s, "retry-after-ms": f"{wait_s}000"}


def test_headers_tell_the_place_where_somebody_waits() -> None:
    """And the wait where it is known."""
    assert queue_headers(None) == ()
    assert queue_headers(QueuePosition(3, None)) == (("x-queue-position", "3"),)
    assert queue_headers(QueuePosition(3, 899.6)) == (("x-queue-position", "3"), ("x-queue-eta-ms", "900"))
