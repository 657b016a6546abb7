"""Bodies of OpenAI's API as models."""

from typing import Any

import orjson
import pytest

from services.common.http.problems import Problem, ProblemError
from services.common.http.request_body import parse_json
from services.gateway.openai.requests import ChatBody, CompletionBody, GenerateBody

CHAT: dict[str, Any] = {"model": "m", "messages": [{"role": "user", "content": "hello"}]}


def refused(body: bytes, kind: Any = ChatBody) -> Problem:
    """How a body is refused."""
    with pytest.raises(ProblemError) as error:
        parse_json(body, kind)
    return error.value.problem


def with_number(place: str, number: bytes) -> bytes:
    """A chat whose free-form JSON in `place` has this number."""
    inner = b'{"deep":[{"x":%b}]}' % number
    holders = {
        "tools": b'"tools":[%b]',
        "tool_choice": b'"tool_choice":%b',
        "response_format": b'"response_format":{"type":"json_schema","json_schema":%b}',
        "messages": b'"messages":[{"role":"assistant","tool_calls":[%b]}]',
        "guided_json": b'"guided_json":%b',
    }
    base = orjson.dumps({"model": "m"} if place == "messages" else CHAT)
    return base[:-1] + b"," + holders[place] % inner + b"}"


@pytest.mark.parametrize("place", ["tools", "tool_choice", "response_format", "messages", "guided_json"])
@pytest.mark.parametrize(
    "number", [b"1e999", b"-1e400", b"18446744073709551616", b"-9223372036854775809", b"NaN"]
)
def test_number_that_cannot_travel_is_refused_by_name(place: str, number: bytes) -> None:
    """What could not be written again, or would come out as another value."""
    problem = refused(with_number(place, number))
    assert problem.status == 400
    if number != b"NaN":
        assert problem.param == place


@pytest.mark.parametrize(
    "number", [b"1e308", b"18446744073709551615", b"-9223372036854775808", b"0.1", b"true"]
)
def test_largest_numbers_travel(number: bytes) -> None:
    """The bounds themselves are inside."""
    body = parse_json(with_number("tools", number), ChatBody)
    assert orjson.loads(orjson.dumps(body.tools)) == body.tools


@pytest.mark.parametrize(
    ("prompt", "prompts"), [("a", ("a",)), (["a"], ("a",)), (["a", "b", ""], ("a", "b", ""))]
)
def test_prompt_is_a_text_or_several(prompt: Any, prompts: tuple[str, ...]) -> None:
    """However it was sent."""
    assert parse_json(orjson.dumps({"model": "m", "prompt": prompt}), CompletionBody).prompts == prompts


@pytest.mark.parametrize("prompt", [[1, 2, 3], [[1, 2], [3]], [[]]])
def test_token_ids_are_refused_and_named(prompt: Any) -> None:
    """The sentence says what to send."""
    problem = refused(orjson.dumps({"model": "m", "prompt": prompt}), CompletionBody)
    assert (problem.status, problem.param) == (400, "prompt")
    assert problem.message == "prompt: Token ids are not served; send the prompt as text."


@pytest.mark.parametrize("prompt", [[], None, 5, {"a": 1}, ["a", 1]])
def test_prompt_of_another_kind_is_refused(prompt: Any) -> None:
    """The field is named."""
    assert refused(orjson.dumps({"model": "m", "prompt": prompt}), CompletionBody).param == "prompt"


@pytest.mark.parametrize("kind", [ChatBody, CompletionBody, GenerateBody])
def test_unknown_fields_are_kept_apart(kind: Any) -> None:
    """They are tolerated, and known to be unknown."""
    body = parse_json(
        orjson.dumps(CHAT | {"model_name": "m", "prompt": "x", "temprature": 0.1, "model_dump": 1}), kind
    )
    assert {"temprature", "model_dump"} <= set(body.model_extra or {})
    assert callable(body.model_dump)
