"""What every refusal for now tells of when to come back."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.common.bus.consumers.log_scan import TooManyLookupsError
from services.common.http import authentication
from services.common.http.problems import NO_RETRY, Headers, Problem, ProblemError, retry_after, unavailable
from services.common.http.responses import problem_response
from services.common.requests.request_finder import cannot_look_up
from services.gateway.http import console_limits


@given(st.floats(min_value=-5, max_value=1e6))
def test_retry_after_is_never_sooner_than_what_is_waited_for(seconds: float) -> None:
    """Whole seconds round up beyond the milliseconds, which do beyond the time itself."""
    told = dict(retry_after(seconds))
    whole_s, wait_ms = int(told["retry-after"]), int(told["retry-after-ms"])
    assert wait_ms >= max(1.0, seconds * 1000)
    assert whole_s == math.ceil(wait_ms / 1000) >= 1


def at_a_full_limit() -> ProblemError:
    """What a client gets that has its share of a limit."""
    limit = console_limits.ConcurrencyLimit("calls are under way", 9, 1)
    with limit.acquire("tenant acme"), pytest.raises(ProblemError) as refused, limit.acquire("tenant acme"):
        pass
    return refused.value


@pytest.mark.parametrize(
    ("error", "seconds"),
    [
        (unavailable("Away.", retry_after_s=3), 3),
        (cannot_look_up(TooManyLookupsError("256")), 1),
        (at_a_full_limit(), 1),
        (ProblemError(console_limits._NO_MEMORY), 1),
        (authentication._too_many_guesses(4.2), 5),
    ],
)
def test_refusal_for_now_tells_when_to_ask_again(error: ProblemError, seconds: int) -> None:
    """For everybody, and in milliseconds for OpenAI's clients."""
    headers = dict(error.problem.headers)
    assert error.problem.status in (429, 503)
    assert (headers["retry-after"], headers["retry-after-ms"]) == (f"{seconds}", f"{seconds}000")


@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize("headers", [(("retry-after", "7"),), NO_RETRY, ()])
def test_answer_to_whoever_is_refused_for_now_has_the_time_of_its_problem_or_a_second(
    status: int, headers: Headers
) -> None:
    """Whichever service makes the problem, and wherever; other headers stay."""
    answer = problem_response(Problem(status, "a", "b", headers=(*headers, ("x-own", "1"))), "/api/x")
    told = {name: answer.headers.get(name) for name in ("retry-after", "x-should-retry", "x-own")}
    assert told == {"retry-after": None, "x-should-retry": None, "x-own": "1"} | dict(
        headers or (("retry-after", "1"),)
    )


def test_answer_to_whoever_is_refused_for_good_tells_no_time() -> None:
    """Nor does a failure."""
    for status in (400, 403, 404, 409, 413, 422, 500, 504):
        assert "retry-after" not in problem_response(Problem(status, "a", "b"), "/v1/x").headers
