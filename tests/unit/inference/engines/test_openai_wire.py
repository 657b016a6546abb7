"""An upstream's words are read for what they are."""

import json
from typing import Any

import pytest

from services.common.requests.model_catalogue import SamplingDefaults
from services.inference.engines.base import (
    EngineFailedError,
    GenerationRequest,
    Piece,
    Sampling,
    TokenLogprob,
    ToolCall,
    Usage,
)
from services.inference.engines.openai_wire import ChunkReader, error_message, request_fields

ASKED = GenerationRequest("r", "chat", messages=({"role": "user", "content": "Hello you"},))


def fields_of(request: GenerationRequest, **defaults: float) -> dict[str, Any]:
    """The body that a request gives."""
    return request_fields(
        request, defaults=SamplingDefaults(**defaults), max_tokens=None, max_tokens_field="max_tokens"
    )


def test_request_fields_of_a_bare_request_are_its_messages() -> None:
    """What the client left open is left to the upstream."""
    assert fields_of(ASKED) == {"messages": [{"role": "user", "content": "Hello you"}]}


def test_request_fields_keep_zeros_that_mean_something() -> None:
    """Temperature 0 and seed 0 are choices, a penalty of 0 is none; the models file's
    default yields to them.
    """
    request = GenerationRequest(
        "r",
        "completion",
        prompt="Hi",
        sampling=Sampling(temperature=0.0, seed=0, logprobs=True, stop=("\n",)),
    )
    fields = fields_of(request, temperature=0.7, top_p=0.9)
    assert fields == {
        "prompt": "Hi",
        "temperature": 0.0,
        "top_p": 0.9,
        "seed": 0,
        "stop": ["\n"],
        "logprobs": 0,
    }


def test_request_fields_of_a_continuation_end_with_what_was_delivered() -> None:
    """The assistant's beginning is the last message; a completion's belongs to its
    prompt.
    """
    chat = GenerationRequest(
        "r", "chat", messages=ASKED.messages, delivered=("Hi, I",), delivered_tokens=(3,)
    )
    assert fields_of(chat)["messages"][-1] == {"role": "assistant", "content": "Hi, I"}
    assert (
        fields_of(GenerationRequest("r", "completion", prompt="One ", delivered=("two",)))["prompt"]
        == "One two"
    )


def test_chunk_reader_reads_text_logprobs_tools_and_end() -> None:
    """Each chunk gives its piece; a chunk with nothing in it gives none."""
    reader = ChunkReader(ASKED)
    logprob = {"token": "Hi", "logprob": -0.5, "top_logprobs": [{"token": "Hi", "logprob": -0.5}]}
    call = {"index": 0, "id": "c1", "function": {"name": "weather", "arguments": '{"ci'}}
    chunks: list[dict[str, Any]] = [
        {"choices": [{"index": 0, "delta": {"role": "assistant", "content": ""}}]},
        {"choices": [{"index": 0, "delta": {"content": "Hi"}, "logprobs": {"content": [logprob]}}]},
        {"choices": [{"index": 0, "delta": {"tool_calls": [call]}}]},
        {"choices": [{"index": 0, "delta": {}, "finish_reason": "tool_calls"}]},
        {
            "choices": [],
            "usage": {
                "prompt_tokens": 9,
                "completion_tokens": 4,
                "prompt_tokens_details": {"cached_tokens": 8},
            },
        },
    ]
    pieces = [piece for chunk in chunks for piece in reader.read(json.dumps(chunk))]
    assert pieces == [
        Piece(index=0, text="Hi", tokens=1, logprobs=(TokenLogprob("Hi", -0.5, (("Hi", -0.5),)),)),
        Piece(index=0, text="", tokens=1, tool_calls=(ToolCall(0, "c1", "weather", '{"ci'),)),
        Piece(index=0, text="", finish_reason="tool_calls"),
    ]
    assert reader.complete
    assert reader.usage() == Usage(prompt_tokens=9, completion_tokens=4, cached_tokens=8)


def test_chunk_reader_reads_the_older_logprobs_of_completions() -> None:
    """/v1/completions has them in parallel lists."""
    given = {
        "tokens": ["a", "b"],
        "token_logprobs": [None, -1.0],
        "top_logprobs": [None, {"b": -1.0, "c": -2.0}],
    }
    reader = ChunkReader(GenerationRequest("r", "completion", prompt="x"))
    (piece,) = reader.read(json.dumps({"choices": [{"index": 0, "text": "ab", "logprobs": given}]}))
    assert piece.logprobs == (TokenLogprob("a", 0.0), TokenLogprob("b", -1.0, (("b", -1.0), ("c", -2.0))))


def test_chunk_reader_without_reported_usage_estimates_it() -> None:
    """An upstream that counts nothing still costs something."""
    reader = ChunkReader(
        GenerationRequest("r", "chat", messages=ASKED.messages, delivered=("Oh",), delivered_tokens=(2,))
    )
    reader.read(json.dumps({"choices": [{"index": 0, "delta": {"content": " hi"}, "finish_reason": "eos"}]}))
    assert not reader.usage_reported
    assert reader.usage() == Usage(prompt_tokens=3, completion_tokens=3)


@pytest.mark.parametrize(
    "usage",
    [
        {"prompt_tokens": 3, "completion_tokens": -1_000_000},
        {"prompt_tokens": -1, "completion_tokens": 3},
        {"prompt_tokens": 1e400, "completion_tokens": 3},
        {"prompt_tokens": float("nan")},
        {"prompt_tokens": "a lot"},
        {"completion_tokens": [1]},
        {"prompt_tokens": 3, "prompt_tokens_details": {"cached_tokens": -5}},
        {"prompt_tokens": 10**30},
        [1],
        "many",
        7,
    ],
)
def test_chunk_reader_told_of_a_usage_that_is_no_count_estimates_it(usage: object) -> None:
    """An upstream that says less than nothing does not fill a budget up."""
    reader = ChunkReader(GenerationRequest("r", "chat", messages=ASKED.messages))
    choice = {"index": 0, "delta": {"content": " hi"}, "finish_reason": "stop"}
    reader.read(json.dumps({"choices": [choice], "usage": usage}))
    assert not reader.usage_reported
    assert reader.usage() == Usage(prompt_tokens=3, completion_tokens=1)


@pytest.mark.parametrize(
    "data",
    [
        "nonsense",
        "[1]",
        '"text"',
        '{"choices": [{"delta": {}}]}',
        '{"choices": 5}',
        "[" * 100_000,
        '{"error": {"message": "overloaded"}}',
    ],
)
def test_chunk_reader_given_no_chunk_fails(data: str) -> None:
    """Whatever is no chunk breaks the stream, it is not passed over."""
    with pytest.raises(EngineFailedError, match="upstream"):
        ChunkReader(ASKED).read(data)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"error": {"message": "No"}}, "No"),
        ({"error": "No"}, "No"),
        ({"detail": "No"}, "No"),
        ("No", "No"),
        ({"message": "No"}, "No"),
    ],
)
def test_error_message_finds_the_upstreams_words(body: object, message: str) -> None:
    """Servers differ in where they put them."""
    assert error_message(body) == message
