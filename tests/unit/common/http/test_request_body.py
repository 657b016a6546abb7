"""Bodies as models: what is wrong is named by the field's own rule."""

import asyncio
import codecs
import gzip
import json
from typing import Annotated, Any, Literal

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import Request

from services.common.http.problems import Problem, ProblemError
from services.common.http.request_body import ignored_fields, parse_json, read_body, read_json


class Part(BaseModel):
    """A nested thing."""

    type: str
    text: str = ""


class Thing(BaseModel):
    """Every kind of union that our bodies have."""

    model_config = ConfigDict(extra="allow", allow_inf_nan=False)

    name: str
    stop: Annotated[str, Field(min_length=1)] | Annotated[list[str], Field(max_length=4)] | None = None
    content: str | list[Part] | None = None
    choice: Literal["none", "auto"] | dict[str, Any] | None = None
    share: Annotated[float, Field(ge=0, le=1)] | None = None
    bias: dict[str, float] | None = None


class Limits:
    """What a service's settings say."""

    max_body_bytes = 1000
    body_timeout_s = 0.05


def outcome(body: bytes) -> tuple[int, str | None]:
    """Status and param, 200 where a body is good."""
    try:
        parse_json(body, Thing)
    except ProblemError as error:
        return error.problem.status, error.problem.param
    return 200, None


def problem_of(body: bytes | dict[str, Any]) -> Problem:
    """How a body is refused."""
    with pytest.raises(ProblemError) as refused:
        parse_json(body if isinstance(body, bytes) else orjson.dumps({"name": "x"} | body), Thing)
    return refused.value.problem


@pytest.mark.parametrize(
    ("body", "param", "text"),
    [
        ({"stop": 5}, "stop", "stop: use a string, or an array; it is 5."),
        ({"stop": ["a"] * 5}, "stop", "stop: List should have at most 4 items"),
        ({"stop": ""}, "stop", "stop: String should have at least 1 character"),
        ({"stop": ["a", 1]}, "stop", "stop.1: use a string; it is 1."),
        ({"content": [{"text": "x"}]}, "content", "content.0.type: it is required."),
        ({"content": [{"type": "a", "text": 1}]}, "content", "content.0.text: use a string; it is 1."),
        ({"content": True}, "content", "content: use a string, or an array; it is tr"),
        ({"choice": "maybe"}, "choice", "choice: use 'none' or 'auto', or an object"),
        ({"choice": 3}, "choice", "choice: use 'none' or 'auto', or an object"),
        ({"share": 3}, "share", "share: use a value less than or equal to 1; it is 3."),
        ({"share": "a lot"}, "share", "share: use a number such as 20.50"),
        ({"bias": {"str": "x"}}, "bias", "bias.str: use a number"),
    ],
)
def test_wrong_field_is_named_by_its_own_rule(body: dict[str, Any], param: str, text: str) -> None:
    """No name of a union's member, no rule of a member that was not meant."""
    problem = problem_of(body)
    assert (problem.status, problem.param) == (400, param)
    assert problem.message.startswith(text)


def test_missing_field_has_a_code_of_its_own() -> None:
    """The field is named though it is not there."""
    problem = problem_of(b"{}")
    assert (problem.code, problem.param) == ("missing_required_parameter", "name")


@pytest.mark.parametrize("body", [b"[1]", b'"x"', b"null", b"3"])
def test_json_that_is_no_object_is_400(body: bytes) -> None:
    """There is no field to name."""
    assert problem_of(body).param is None


def test_long_values_are_not_repeated() -> None:
    """A prompt does not come back in an error."""
    assert "secret" not in problem_of({"share": "secret " * 20}).message


@pytest.mark.parametrize(
    "body",
    [
        b'{"name":"x","share":NaN}',
        b'{"name":"x","unknown":NaN}',
        b'{"name":"x","unknown":[{"a":-Infinity}]}',
        b'{"name":"x","choice":{"a":Infinity}}',
        b'{"name":"NaN","bias":{"a":NaN}}',
    ],
)
def test_number_that_is_none_is_400_anywhere(body: bytes) -> None:
    """Also where nobody would read it."""
    assert problem_of(body).status == 400


def test_nan_in_a_string_is_text() -> None:
    """NaN is a word as well."""
    assert (
        parse_json(b'{"name":"NaN Infinity -Infinity","more":"NaN"}', Thing).name == "NaN Infinity -Infinity"
    )


def test_byte_order_mark_is_passed_over() -> None:
    """Windows' editors write it."""
    assert parse_json(codecs.BOM_UTF8 + b'{"name":"x"}', Thing).name == "x"


@pytest.mark.parametrize(
    "encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "latin-1", "cp1252"]
)
def test_other_encoding_is_400_that_says_utf8(encoding: str) -> None:
    """With and without a byte order mark."""
    problem = problem_of('{"name":"é"}'.encode(encoding))
    assert (problem.status, problem.code) == (400, "invalid_encoding")
    assert "UTF-8" in problem.message


@given(st.binary(max_size=200))
def test_any_bytes_are_a_model_or_a_400(body: bytes) -> None:
    """Nothing else comes of hostile bytes."""
    assert outcome(body)[0] in (200, 400)


_JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.sampled_from(["name", "stop", "content", "choice", "share", "bias", "x"]), _JSON))
def test_any_values_are_a_model_or_a_400_with_a_known_param(body: dict[str, Any]) -> None:
    """The param is always one of the body's own fields."""
    status, param = outcome(json.dumps(body).encode())
    assert status in (200, 400)
    assert param in {*Thing.model_fields, None}


def header_of(body: bytes) -> str:
    """The header of ignored fields."""
    return (ignored_fields(parse_json(body, Thing)) or {}).get("x-ignored-fields", "")


@pytest.mark.parametrize(
    ("body", "header"),
    [
        (b'{"name":"x"}', ""),
        (b'{"name":"x","temprature":1}', "temprature"),
        (b'{"name":"x","a":1,"b":null}', "a, b"),
        (b'{"name":"x","a\\r\\nset-cookie: b":1}', "a%0D%0Aset-cookie%3A%20b"),
        (b'{"name":"x","a, b":1}', "a%2C%20b"),
        ('{"name":"x","é":1}'.encode(), "%C3%A9"),
        (b'{"name":"x","":1}', "%22%22"),
    ],
)
def test_ignored_fields_come_back_sanitised(body: bytes, header: str) -> None:
    """A name cannot become a header, or two."""
    assert header_of(body) == header


@given(st.dictionaries(st.text(), st.none(), max_size=60))
def test_ignored_fields_are_bounded_whatever_they_are(names: dict[str, None]) -> None:
    """Visible ASCII, and never much of it."""
    header = header_of(orjson.dumps({**dict.fromkeys(names), "name": "x"}))
    assert len(header) < 2000
    assert header.isascii()
    assert header.isprintable()


def test_many_ignored_fields_are_counted() -> None:
    """The rest is a number."""
    assert header_of(orjson.dumps({"name": "x"} | {f"f{at}": 1 for at in range(30)})).endswith(", f15, +14")


def request(*parts: bytes, headers: list[tuple[bytes, bytes]] | None = None, ends: bool = True) -> Request:
    """A request whose body comes in these parts."""
    waiting = [{"type": "http.request", "body": part, "more_body": True} for part in parts]
    if ends:
        waiting.append({"type": "http.request", "body": b"", "more_body": False})

    async def receive() -> Any:
        if not waiting:
            await asyncio.Event().wait()
        return waiting.pop(0)

    return Request({"type": "http", "method": "POST", "path": "/", "headers": headers or []}, receive)


async def test_body_comes_in_parts() -> None:
    """They are joined."""
    assert (await read_json(request(b'{"na', b'me":"x"}'), Thing, Limits())).name == "x"


async def test_body_that_does_not_end_is_408_and_the_connection_with_it() -> None:
    """A client that dribbles or stops is not waited for."""
    with pytest.raises(ProblemError) as refused:
        await read_json(request(b"{", ends=False), Thing, Limits())
    assert refused.value.problem.status == 408
    assert ("connection", "close") in refused.value.problem.headers


async def test_body_over_the_limit_is_413() -> None:
    """What is beyond it is read and not kept."""
    with pytest.raises(ProblemError) as refused:
        await read_body(request(b"x" * 600, b"x" * 600), 1000, 1)
    assert refused.value.problem.status == 413


async def test_client_that_leaves_ends_the_reading() -> None:
    """Nobody is left to tell."""
    asked = request(b"{", ends=False)

    async def gone() -> Any:
        return {"type": "http.disconnect"}

    asked._receive = gone
    with pytest.raises(ProblemError) as left:
        await read_body(asked, 1000, 1)
    assert left.value.problem.code == "client_left"


@pytest.mark.parametrize(
    ("content_type", "status"),
    [
        (b"application/json", 200),
        (b"application/json; charset=utf-8", 200),
        (b'application/json; charset="UTF-8"', 200),
        (b"application/json;charset=utf8", 200),
        (b"text/plain; CHARSET=us-ascii", 200),
        (b"application/json; charset=utf-16", 400),
        (b"application/json; charset=latin-1", 400),
        (b"application/json; charset=no-such", 400),
        (b"application/json; charset=\xff\x00", 400),
    ],
)
async def test_charset_is_utf8_or_refused(content_type: bytes, status: int) -> None:
    """A charset that is named is believed."""
    asked = request(b'{"name":"x"}', headers=[(b"content-type", content_type)])
    if status == 200:
        assert (await read_json(asked, Thing, Limits())).name == "x"
    else:
        with pytest.raises(ProblemError, match="UTF-8") as refused:
            await read_json(asked, Thing, Limits())
        assert refused.value.problem.status == status


async def test_compressed_body_is_read_and_bounded_by_what_it_decodes_to() -> None:
    """A small body that decodes to a large one is 413."""
    headers = [(b"content-encoding", b"gzip")]
    assert (
        await read_json(request(gzip.compress(b'{"name":"x"}'), headers=headers), Thing, Limits())
    ).name == "x"
    with pytest.raises(ProblemError) as refused:
        await read_json(request(gzip.compress(b" " * 5000), headers=headers), Thing, Limits())
    assert refused.value.problem.status == 413
