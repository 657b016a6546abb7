"""The vllm engine's own part, on a stand-in for vLLM: it is not installed here, and its
real engine needs a GPU.
"""

import sys
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from services.common.requests.model_catalogue import ModelConfig
from services.inference.engines import create_engine
from services.inference.engines.base import (
    ContinuationError,
    Engine,
    EngineFailedError,
    GenerationRequest,
    InvalidRequestError,
    Piece,
    Sampling,
    TokenLogprob,
    Usage,
)

LETTERS = "hello you there"


class ClientError(Exception):
    """vLLM's refusal of a request."""


class DeadError(Exception):
    """vLLM's end."""


class Params(SimpleNamespace):
    """Any of vLLM's bags of parameters."""


@dataclass
class FakeTokenizer:
    """One token a letter."""

    def encode(self, text: str, *, add_special_tokens: bool) -> list[int]:
        """The letters' code points."""
        assert not add_special_tokens
        return [ord(letter) for letter in text]

    def apply_chat_template(
        self, messages: list[dict[str, Any]], *, add_generation_prompt: bool, tokenize: bool
    ) -> str:
        """Contents, then a colon."""
        assert add_generation_prompt
        assert not tokenize
        return " ".join(message["content"] for message in messages) + ":"


class FakeAsyncLLM:
    """Says LETTERS letter by letter, in as many choices as asked, from where the prompt
    left it.
    """

    last: "FakeAsyncLLM"
    script = LETTERS

    def __init__(self, arguments: Params) -> None:
        self.arguments = arguments
        self.asked: list[tuple[list[int], Params]] = []
        self.aborted = 0
        self.dead = False
        FakeAsyncLLM.last = self

    @classmethod
    def from_engine_args(cls, arguments: Params) -> "FakeAsyncLLM":
        """As vLLM makes one."""
        return cls(arguments)

    def get_tokenizer(self) -> FakeTokenizer:
        """As vLLM gives it."""
        return FakeTokenizer()

    async def check_health(self) -> None:
        """Raises once dead."""
        if self.dead:
            raise DeadError

    def shutdown(self, timeout: float) -> None:
        """Ends it."""
        assert timeout > 0
        self.dead = True

    async def generate(
        self, prompt: dict[str, list[int]], params: Params, request_id: str
    ) -> AsyncIterator[SimpleNamespace]:
        """DELTA outputs, as vLLM's."""
        assert request_id
        self.asked.append((prompt["prompt_token_ids"], params))
        said = "".join(map(chr, prompt["prompt_token_ids"])).rpartition(":")[2]
        ended = False
        try:
            for position, letter in enumerate(self.script[len(said) :], 1):
                reason = "length" if position == params.max_tokens else None
                chances = {
                    ord(letter): SimpleNamespace(logprob=-0.5, decoded_token=letter),
                    0: SimpleNamespace(logprob=-1.5, decoded_token="?"),
                }
                logprobs = None if params.logprobs is None else [chances]
                part = {
                    "text": letter,
                    "token_ids": [ord(letter)],
                    "logprobs": logprobs,
                    "finish_reason": reason,
                }
                ended = reason is not None
                yield SimpleNamespace(
                    outputs=[SimpleNamespace(index=index, **part) for index in range(params.n)],
                    finished=ended,
                )
                if ended:
                    return
            raise DeadError("gpu lost")
        finally:
            self.aborted += not ended


@pytest.fixture
async def engine(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Engine]:
    """A started engine on the stand-in."""
    names = {
        "vllm": {},
        "vllm.config": {"StructuredOutputsConfig": Params},
        "vllm.engine": {},
        "vllm.engine.arg_utils": {"AsyncEngineArgs": Params},
        "vllm.exceptions": {"VLLMClientError": ClientError},
        "vllm.sampling_params": {
            "RequestOutputKind": SimpleNamespace(DELTA=1),
            "SamplingParams": Params,
            "StructuredOutputsParams": Params,
        },
        "vllm.v1": {},
        "vllm.v1.engine": {},
        "vllm.v1.engine.async_llm": {"AsyncLLM": FakeAsyncLLM},
        "vllm.v1.engine.exceptions": {"EngineDeadError": DeadError, "EngineGenerateError": RuntimeError},
    }
    for name, content in names.items():
        module = ModuleType(name)
        vars(module).update(content)
        monkeypatch.setitem(sys.modules, name, module)
    options = {"model": "big", "engine_args": {"tensor_parallel_size": 2}}
    engine = create_engine(
        ModelConfig(name="big", engine="vllm", options=options, context_length=1500, slots=8)
    )
    await engine.start()
    yield engine
    await engine.close()
    del sys.modules["services.inference.engines.vllm"]  # it holds on to the stand-in


def chat(*, delivered: str = "", **sampling: Any) -> GenerationRequest:
    """A chat request."""
    values = {"max_tokens": 5, **sampling}
    given = {"delivered": (delivered,), "delivered_tokens": (len(delivered),)} if delivered else {}
    return GenerationRequest(
        "r", "chat", messages=({"role": "user", "content": "Hi"},), sampling=Sampling(**values), **given
    )


async def answer(engine: Engine, request: GenerationRequest) -> tuple[list[Piece], Usage]:
    """Everything that one generation gives."""
    *pieces, usage = [item async for item in engine.generate(request)]
    assert isinstance(usage, Usage)
    return [piece for piece in pieces if isinstance(piece, Piece)], usage


async def test_vllm_chat_streams_deltas_and_counts(engine: Engine) -> None:
    """Text, logprobs, end and usage; vLLM was given the models file's settings."""
    pieces, usage = await answer(engine, chat(logprobs=True, top_logprobs=1, seed=4, logit_bias={"7": -1}))
    assert "".join(piece.text for piece in pieces) == "hello"
    assert pieces[0].logprobs == (TokenLogprob("h", -0.5, (("h", -0.5),)),)
    assert pieces[-1].finish_reason == "length"
    assert usage == Usage(prompt_tokens=3, completion_tokens=5)
    assert vars(FakeAsyncLLM.last.arguments) == {
        "model": "big",
        "max_model_len": 1500,
        "max_num_seqs": 8,
        "structured_outputs_config": Params(backend="guidance"),
        "tensor_parallel_size": 2,
    }
    params = FakeAsyncLLM.last.asked[0][1]
    assert (params.seed, params.logit_bias, params.temperature) == (4, {7: -1}, 1.0)


async def test_vllm_continuation_goes_on_behind_what_was_delivered(engine: Engine) -> None:
    """What was delivered is read with the prompt; budget and usage count the whole."""
    pieces, usage = await answer(engine, chat(delivered="hel", max_tokens=9))
    assert "".join(piece.text for piece in pieces) == "lo you"
    assert usage == Usage(prompt_tokens=3, completion_tokens=9)
    spent, usage = await answer(engine, chat(delivered="hello"))
    assert (spent, usage.completion_tokens) == ([Piece(index=0, text="", finish_reason="length")], 5)


async def test_vllm_stop_string_aborts_the_rest(engine: Engine) -> None:
    """The text ends before it, in every choice, and vLLM stops."""
    pieces, _ = await answer(engine, chat(stop=("o y",), n=2, max_tokens=15))
    assert ["".join(piece.text for piece in pieces if piece.index == index) for index in (0, 1)] == [
        "hell",
        "hell",
    ]
    assert {piece.finish_reason for piece in pieces[-2:]} == {"stop"}
    assert FakeAsyncLLM.last.aborted == 1


async def test_vllm_reader_that_leaves_aborts_the_request(engine: Engine) -> None:
    """Closing our generator closes vLLM's."""
    async with aclosing(engine.generate(chat())) as stream:
        assert isinstance(await anext(stream), Usage)
        await anext(stream)
    assert FakeAsyncLLM.last.aborted == 1


async def test_vllm_that_dies_is_an_engine_failure(engine: Engine) -> None:
    """A dead engine fails its streams, and its health."""
    with pytest.raises(EngineFailedError, match="gpu lost"):
        await answer(engine, chat(max_tokens=40))
    assert await engine.healthy()
    FakeAsyncLLM.last.dead = True
    assert not await engine.healthy()


async def test_vllm_requests_that_it_cannot_serve_are_refused(engine: Engine) -> None:
    """Too long, badly bound, or impossible to continue."""
    with pytest.raises(InvalidRequestError, match="context only 1500"):
        await answer(engine, GenerationRequest("r", "completion", prompt="x" * 1500))
    with pytest.raises(InvalidRequestError, match="JSON Schema"):
        await answer(engine, chat(response_format={"type": "json_schema"}))
    with pytest.raises(ContinuationError, match="grammar"):
        await answer(engine, chat(delivered="{", response_format={"type": "json_object"}))
    with pytest.raises(ContinuationError, match="several choices"):
        await answer(engine, chat(delivered="a", n=2))


async def test_vllm_tools_are_shown_constrained_and_read_back(
    engine: Engine,
) -> None:
    """The prompt introduces them, a grammar binds the answer, and a call in it comes as
    parts of a call.
    """
    script = FakeAsyncLLM.last.script = '<tool_call>\n{"name": "add", "arguments": {"a": 1}}\n</tool_call>'
    tools = ({"type": "function", "function": {"name": "add", "parameters": {"type": "object"}}},)
    pieces, _ = await answer(engine, chat(tools=tools, tool_choice="required", max_tokens=len(script)))
    prompt, params = FakeAsyncLLM.last.asked[0]
    assert '"name": "add"' in "".join(map(chr, prompt))
    assert params.structured_outputs.grammar.startswith("%llguidance")
    calls = [call for piece in pieces for call in piece.tool_calls]
    assert (calls[0].name, "".join(call.arguments for call in calls)) == ("add", '{"a": 1}')
    assert sum(piece.tokens for piece in pieces) == len(script)
