"""How answers leave, whatever is in them."""

import orjson
import pytest
from starlette.responses import Response

from schemas.errors import ErrorCode
from services.common.http.problems import Problem
from services.common.http.responses import json_response, problem_response

HOSTILE = "<script>alert(1)</script>\r\nset-cookie: a=b"


@pytest.mark.parametrize(
    "answer",
    [
        json_response({"text": HOSTILE}),
        problem_response(Problem(400, ErrorCode.INVALID_REQUEST, HOSTILE), "/v1/chat/completions"),
        problem_response(Problem(400, ErrorCode.INVALID_REQUEST, HOSTILE), "/api/me"),
    ],
    ids=["answer", "OpenAI's problem", "problem"],
)
def test_answer_with_marks_of_html_is_json_and_nothing_else(answer: Response) -> None:
    """No browser takes it for a page, and none of it becomes a header."""
    assert answer.headers["content-type"] in ("application/json", "application/problem+json")
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "set-cookie" not in answer.headers
    assert orjson.dumps(HOSTILE)[1:-1] in bytes(answer.body)
