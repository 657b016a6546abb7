"""Ends that are no completion, as the client sees them."""

from collections.abc import Iterator
from itertools import product

import pytest

from schemas.errors import ErrorCode
from schemas.inference import End, ErrorDetail, Outcome
from services.common.http.problems import Problem
from services.common.http.responses import problem_response
from services.gateway.problems import has_ended, not_all_begun, problem_of_end
from services.inference.domain.dispatch import endings


@pytest.mark.parametrize("outcome", [Outcome.COMPLETED, Outcome.CACHE_HIT])
def test_completion_is_no_problem(outcome: Outcome) -> None:
    """Whether it was generated or remembered."""
    assert problem_of_end(End(outcome=outcome)) is None


@pytest.mark.parametrize(
    ("outcome", "status", "code"),
    [
        (Outcome.CANCELLED, 409, ErrorCode.REQUEST_CANCELLED),
        (Outcome.EXPIRED, 504, ErrorCode.DEADLINE_EXCEEDED),
        (Outcome.BLOCKED, 403, ErrorCode.BLOCKED),
        (Outcome.FAILED, 500, ErrorCode.INFERENCE_FAILED),
    ],
)
def test_every_other_outcome_has_its_status(outcome: Outcome, status: int, code: ErrorCode) -> None:
    """Where the end says no more than how it came."""
    problem = problem_of_end(End(outcome=outcome))
    assert problem is not None
    assert (problem.status, problem.code) == (status, code)


@pytest.mark.parametrize(("status", "seen"), [(400, 400), (503, 503), (200, 500), (0, 500), (700, 500)])
def test_detail_is_passed_on_with_a_status_that_is_one(status: int, seen: int) -> None:
    """A code of a newer version passes through; a status that is no error's does not."""
    detail = ErrorDetail(status=status, code="of_tomorrow", message="why", param="prompt")
    problem = problem_of_end(End(outcome=Outcome.FAILED, error=detail))
    assert problem is not None
    assert (problem.status, problem.code, problem.message, problem.param) == (
        seen,
        "of_tomorrow",
        "why",
        "prompt",
    )


def every_end() -> Iterator[End]:
    """All outcomes, without a detail and with every code and status, and all that a
    dispatcher makes.
    """
    for outcome in Outcome:
        yield End(outcome=outcome)
        for code, status in product((*ErrorCode, "of_tomorrow"), (0, 400, 429, 500, 503, 504)):
            yield End(outcome=outcome, error=ErrorDetail(status=status, code=code, message="why"))
    yield from (endings.unanswered(), endings.unreadable(), endings.lost(), endings.already_ended())
    yield from (endings.expired(), endings.gave_up(3), endings.killed_replicas(3), endings.too_large())


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/generate"])
def test_end_that_is_refused_for_now_tells_when_to_come_back_or_not_to(path: str) -> None:
    """Each 429 and 503, whoever made the end; a 503 alone is repeated at once."""
    seen = set[int]()
    for end in every_end():
        if (problem := problem_of_end(end)) is None:
            continue
        seen.add(problem.status)
        headers = problem_response(problem, path).headers
        if problem.status in (429, 503):
            never = headers.get("x-should-retry") == "false"
            assert never != ("retry-after" in headers), end
            assert ("retry-after" in headers) == ("retry-after-ms" in headers), end
    assert {429, 503} <= seen


@pytest.mark.parametrize(
    "end",
    [
        endings.killed_replicas(3),
        End(outcome=Outcome.BLOCKED, error=ErrorDetail(status=503, code="policy", message="no")),
    ],
)
def test_end_that_would_come_again_is_not_tried_again(end: End) -> None:
    """A request that replicas died of would take the next ones along."""
    problem = problem_of_end(end)
    assert problem is not None
    assert ("x-should-retry", "false") in problem.headers


def test_end_that_cannot_be_cancelled_is_not_tried_again() -> None:
    """SDKs retry 409 unless they are told not to."""
    assert ("x-should-retry", "false") in has_ended("chatcmpl-1").problem.headers


@pytest.mark.parametrize("status", [503, 413, 403])
def test_problem_at_a_later_prompt_says_what_had_begun(status: int) -> None:
    """With the status, code and headers that it has by itself."""
    alone = Problem(
        status, "a_code", "No room; nothing was begun. Try again.", headers=(("retry-after", "1"),)
    )
    found = not_all_begun(alone, begun=2, prompts=4).problem
    assert (found.status, found.code, found.headers) == (status, "a_code", alone.headers)
    assert "Prompt 3 of 4" in found.message
    assert "The 2 before it had begun" in found.message
    assert "charged only if" in found.message
    assert (alone.message in found.message) is (status != 503)
