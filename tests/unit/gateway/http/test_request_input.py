"""Wishes in headers."""

import pytest
from starlette.requests import Request

from services.common.http.problems import ProblemError
from services.gateway.http.request_input import resume_window_s


def request(**headers: str) -> Request:
    """A request with these headers."""
    raw = [(name.replace("_", "-").encode(), value.encode("latin-1")) for name, value in headers.items()]
    return Request({"type": "http", "method": "POST", "path": "/", "headers": raw})


@pytest.mark.parametrize(("text", "window_s"), [("0", 0.0), ("12.5", 12.5), ("1e9", 300.0)])
def test_resume_window_is_bounded(text: str, window_s: float) -> None:
    """What is beyond the longest is the longest."""
    assert resume_window_s(request(x_resume_window=text), 300.0) == window_s


@pytest.mark.parametrize("text", ["", "soon", "-1", "nan", "inf", "1 2"])
def test_resume_window_that_is_no_number_is_400(text: str) -> None:
    """The header is named."""
    with pytest.raises(ProblemError) as refused:
        resume_window_s(request(x_resume_window=text), 300.0)
    assert (refused.value.problem.status, refused.value.problem.param) == (400, "x-resume-window")


def test_no_resume_window_is_none() -> None:
    """Who does not ask is not waited for."""
    assert resume_window_s(request(), 300.0) == 0.0
