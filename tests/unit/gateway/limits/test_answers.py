"""What clients are told of their limits."""

import pytest

from services.common.control.limits import LimitKind, Rule
from services.gateway.limits.answers import duration, limit_headers, refusal_problem
from services.gateway.limits.limiter import Allowance, Refused


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0s"),
        (-1, "0s"),
        (0.0119, "12ms"),
        (0.9999, "1000ms"),
        (1, "1s"),
        (7.654, "7.66s"),
        (59.991, "60s"),
        (360, "6m0s"),
        (361.2, "6m2s"),
        (3600, "1h0m0s"),
    ],
)
def test_durations_read_as_those_of_openai(seconds: float, text: str) -> None:
    """`12ms`, `6m0s`: rounded up, so that who waits so long waited long enough."""
    assert duration(seconds) == text


def test_headers_tell_nothing_of_what_is_not_limited() -> None:
    """Neither requests nor tokens."""
    assert dict(limit_headers(Allowance(10, 3, 42), None)) == {
        "x-ratelimit-limit-requests": "10",
        "x-ratelimit-remaining-requests": "3",
        "x-ratelimit-reset-requests": "42s",
    }
    assert limit_headers(None, None) == ()


def test_refusal_says_whose_limit_and_when_to_come_back() -> None:
    """In whole seconds and in milliseconds, rounded up."""
    problem = refusal_problem(Refused(Rule("n", "user", LimitKind.TOKENS, 500), 1.2341), (("x-a", "b"),))
    assert (problem.status, problem.code, problem.type) == (429, "rate_limit_exceeded", "rate_limit_error")
    assert "this key's user may have 500 tokens a minute. Try again in 1.24s." in problem.message
    assert problem.headers == (("x-a", "b"), ("retry-after", "2"), ("retry-after-ms", "1235"))


def test_request_beyond_the_whole_limit_is_not_to_be_sent_again() -> None:
    """Waiting would not help."""
    problem = refusal_problem(Refused(Rule("n", "key", LimitKind.STREAMS, 2), None), ())
    assert "this API key may have 2 requests at a time, and this request asks for more" in problem.message
    assert problem.headers == (("x-should-retry", "false"),)
