"""The llamacpp engine with the real SmolLM2: what the default installation serves."""

import asyncio
import json
import signal
from collections.abc import AsyncIterator
from contextlib import aclosing
from itertools import pairwise

import pytest
import pytest_asyncio

from services.common.errors import ConfigError
from services.inference.engines import create_engine
from services.inference.engines.base import (
    ContinuationError,
    Engine,
    EngineFailedError,
    GenerationRequest,
    InvalidRequestError,
    Piece,
    Sampling,
)
from tests.support.inference.smollm2 import COUNT, MODELS, answer, chat, completion, smollm2

pytestmark = pytest.mark.asyncio(loop_scope="module")

PERSON = ({"role": "user", "content": "A person as JSON"},)
PERSON_SCHEMA = {
    "type": "json_schema",
    "json_schema": {
        "name": "person",
        "schema": {
            "type": "object",
            "properties": {"age": {"type": "integer", "maximum": 99}},
            "required": ["age"],
            "additionalProperties": False,
        },
    },
}


_INTERRUPTS: list[int] = []
"""The SIGINTs that this process's own handler got."""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def engine() -> AsyncIterator[Engine]:
    """One loaded model for all tests, started under a SIGINT handler of the tests' own:
    whatever runs the tests may have SIGINT ignored.
    """
    engine = create_engine(smollm2())
    before = signal.signal(signal.SIGINT, lambda number, _frame: _INTERRUPTS.append(number))
    await engine.start()
    yield engine
    await engine.close()
    signal.signal(signal.SIGINT, before)


async def test_llamacpp_chat_answers_sensibly(engine: Engine) -> None:
    """The model knows a capital."""
    result = await answer(engine, chat(({"role": "user", "content": "What is the capital of France?"},)))
    assert "Paris" in result.texts[0]


async def test_llamacpp_chat_pieces_usage_and_limit_agree(engine: Engine) -> None:
    """Tokens stream one by one up to the limit, and are counted once."""
    result = await answer(engine, chat())
    assert result.reasons == {0: "length"}
    assert result.tokens == {0: 24}
    assert len(result.pieces) > 10
    assert result.usage is not None
    assert result.usage.completion_tokens == 24
    assert 10 < result.usage.prompt_tokens < 60


async def test_llamacpp_short_answer_ends_of_itself(engine: Engine) -> None:
    """The model's own end is a stop."""
    result = await answer(engine, chat(({"role": "user", "content": "Say hi"},), max_tokens=200))
    assert result.reasons == {0: "stop"}


async def test_llamacpp_same_seed_gives_the_same_text_and_another_seed_another(engine: Engine) -> None:
    """Sampling follows the seed; without one it follows the request's id."""
    texts = [
        (await answer(engine, chat(temperature=1.5, seed=seed))).texts[0] for seed in (1, 1, 2, None, None)
    ]
    assert texts[0] == texts[1] != texts[2]
    assert texts[3] == texts[4]


async def test_llamacpp_stop_string_ends_the_text_before_it(engine: Engine) -> None:
    """No part of the stop string is ever out, and each token has its own
    log-probability although it was held back.
    """
    free = (await answer(engine, chat())).texts[0]
    stop = free[9:13]
    result = await answer(engine, chat(stop=(stop, "never said"), logprobs=True, top_logprobs=2))
    assert result.texts[0] == free[: free.index(stop)]
    assert result.reasons == {0: "stop"}
    assert result.tokens[0] == len(result.logprobs)
    assert "".join(logprob.token for logprob in result.logprobs).startswith(result.texts[0])
    assert all(logprob.logprob <= 0 and len(logprob.top) == 2 for logprob in result.logprobs)


async def test_llamacpp_characters_of_several_tokens_come_whole(engine: Engine) -> None:
    """No piece ends inside a character, and the tokens still add up."""
    family = "👨‍👩‍👧‍👦 日本語"
    result = await answer(engine, completion(f"{family} Copy: {family} Copy: {family} Copy:", max_tokens=14))
    assert family.startswith(result.texts[0].strip())
    assert len(result.texts[0].strip()) >= 3
    assert result.usage is not None
    assert result.tokens[0] == result.usage.completion_tokens > len(result.texts[0])


@pytest.mark.parametrize("cut", [3, 10, 21])
async def test_llamacpp_continuation_goes_on_behind_what_was_delivered(engine: Engine, cut: int) -> None:
    """Greedy text goes on as it would have; budget and usage count the whole."""
    whole = await answer(engine, chat(max_tokens=30))
    head, tokens = "", 0
    for piece in whole.pieces[:cut]:
        head, tokens = head + piece.text, tokens + piece.tokens
    rest = await answer(engine, chat(max_tokens=30, delivered=(head,), delivered_tokens=(tokens,)))
    assert (head + rest.texts[0])[: len(head) + 8] == whole.texts[0][: len(head) + 8]
    assert rest.tokens[0] == 30 - tokens
    assert rest.usage is not None
    assert rest.usage.completion_tokens == 30


async def test_llamacpp_with_everything_delivered_only_ends(engine: Engine) -> None:
    """A spent budget yields the end and nothing else."""
    result = await answer(engine, chat(delivered=("1, 2",), delivered_tokens=(24,)))
    assert (result.texts, result.reasons) == ({0: ""}, {0: "length"})
    assert result.usage is not None
    assert result.usage.completion_tokens == 24


async def test_llamacpp_choice_that_had_its_end_gets_no_more(engine: Engine) -> None:
    """Of two choices, the one that lacks its end is continued; with both ended only the
    count is left.
    """
    sampling = Sampling(n=2, max_tokens=8, temperature=0.0)
    delivered = {"delivered": ("One.", "1, 2"), "delivered_tokens": (2, 4)}
    half = await answer(
        engine,
        GenerationRequest(
            "r", "chat", messages=COUNT, sampling=sampling, delivered_finish=("stop", None), **delivered
        ),
    )
    assert half.tokens == {1: 4}
    assert half.usage is not None
    assert half.usage.completion_tokens == 10
    done = await answer(
        engine,
        GenerationRequest(
            "r", "chat", messages=COUNT, sampling=sampling, delivered_finish=("stop", "stop"), **delivered
        ),
    )
    assert done.pieces == []
    assert done.usage is not None
    assert (done.usage.completion_tokens, done.usage.prompt_tokens > 10) == (6, True)


async def test_llamacpp_json_schema_binds_the_answer_also_when_continued(engine: Engine) -> None:
    """The answer fits the schema; an attempt that continues gives exactly the rest of
    it.
    """
    whole = await answer(engine, chat(PERSON, response_format=PERSON_SCHEMA, max_tokens=40))
    assert 0 <= json.loads(whole.texts[0])["age"] <= 99
    head = whole.texts[0][:7]
    rest = await answer(
        engine,
        chat(PERSON, response_format=PERSON_SCHEMA, max_tokens=40, delivered=(head,), delivered_tokens=(3,)),
    )
    assert head + rest.texts[0] == whole.texts[0]
    with pytest.raises(ContinuationError, match="differs"):
        await answer(
            engine, chat(PERSON, response_format=PERSON_SCHEMA, delivered=('{"x',), delivered_tokens=(2,))
        )


async def test_llamacpp_several_choices_differ_and_all_end(engine: Engine) -> None:
    """More choices than slots take turns; usage counts them all."""
    result = await answer(engine, chat(n=5, temperature=1.5, max_tokens=6))
    assert set(result.reasons) == set(range(5))
    assert len(set(result.texts.values())) > 1
    assert result.usage is not None
    assert result.usage.completion_tokens == sum(result.tokens.values())


async def test_llamacpp_logit_bias_forbids_a_token(engine: Engine) -> None:
    """The likeliest first token, forbidden, does not come."""
    free = await answer(engine, completion("Once upon a", max_tokens=1))
    probe = await answer(engine, completion("Once upon a", max_tokens=1, logit_bias={"655": -100}))
    assert free.texts[0] == " time"
    assert probe.texts[0] != free.texts[0]


async def test_llamacpp_requests_at_once_are_batched_together(engine: Engine) -> None:
    """Streams in several slots advance side by side, each as if alone."""
    order: list[int] = []

    async def read(number: int) -> str:
        text = ""
        async for item in engine.generate(completion(f"The number {number} is", max_tokens=30)):
            if isinstance(item, Piece):
                order.append(number)
                text += item.text
        return text

    async with asyncio.timeout(60), asyncio.TaskGroup() as group:
        tasks = [group.create_task(read(number)) for number in range(4)]
    assert all(task.result() for task in tasks)
    switches = sum(1 for before, after in pairwise(order) if before != after)
    assert switches > 20


async def test_llamacpp_prompt_beyond_the_context_is_refused(engine: Engine) -> None:
    """The client learns both numbers, before anything was generated."""
    with pytest.raises(InvalidRequestError, match="1201 tokens and the context only 512") as raised:
        await answer(engine, completion("a b " * 600))
    assert raised.value.param == "prompt"


async def test_llamacpp_answer_that_fills_the_context_ends_with_length(engine: Engine) -> None:
    """The context's end is a length, not a failure."""
    result = await answer(engine, completion("a b " * 250, max_tokens=100, logit_bias={"0": -100, "2": -100}))
    assert result.reasons == {0: "length"}
    assert result.tokens[0] < 20


@pytest.mark.parametrize(
    ("request_", "param"),
    [
        (chat(()), "messages"),
        (chat(({"role": "user", "content": [{"type": "image_url"}]},)), "messages"),
        (
            chat(
                PERSON, response_format={"type": "json_schema", "json_schema": {"schema": {"type": "zebra"}}}
            ),
            "response_format",
        ),
        (
            chat(PERSON, response_format={"type": "json_schema", "json_schema": {"schema": 5}}),
            "response_format",
        ),
        (chat(PERSON, response_format={"type": "xml"}), "response_format"),
        (completion(""), "prompt"),
        (completion("Hi", response_format={"type": "json_object"}), "response_format"),
    ],
    ids=[
        "no-messages",
        "image",
        "bad-schema",
        "no-schema",
        "unknown-format",
        "no-prompt",
        "format-of-completion",
    ],
)
async def test_llamacpp_request_that_it_cannot_serve_is_refused_by_name(
    engine: Engine, request_: GenerationRequest, param: str
) -> None:
    """The error names the field that the client must mend."""
    with pytest.raises(InvalidRequestError) as raised:
        await answer(engine, request_)
    assert raised.value.param == param


async def test_llamacpp_reader_that_leaves_frees_the_slot() -> None:
    """With one slot the next request can only be served once the first has really
    stopped, also when it was still reading its prompt.
    """
    engine = create_engine(smollm2(slots=1))
    await engine.start()
    endless = {"max_tokens": 400, "logit_bias": {"0": -100, "2": -100}}
    try:
        async with asyncio.timeout(60):
            async with aclosing(engine.generate(completion("Tell me", **endless))) as stream:
                first = await anext(aiter(piece async for piece in stream if isinstance(piece, Piece)))
            reading = asyncio.create_task(answer(engine, completion("a b " * 200, **endless)))
            await asyncio.sleep(0)  # it begins
            reading.cancel()
            await asyncio.wait([reading])
            assert isinstance(first, Piece)
            assert reading.cancelled()
            assert (await answer(engine, chat(max_tokens=3))).tokens == {0: 3}
    finally:
        await engine.close()


async def test_llamacpp_closed_while_it_generates_breaks_the_stream_off() -> None:
    """A stream that was cut is a failure; a closed engine serves nothing."""
    engine = create_engine(smollm2(slots=1))
    await engine.start()
    async with (
        asyncio.timeout(60),
        aclosing(engine.generate(completion("Tell me", max_tokens=400))) as stream,
    ):
        await anext(stream)
        assert await engine.healthy()
        await engine.close()
        with pytest.raises(EngineFailedError):
            async for _ in stream:
                pass
    assert not await engine.healthy()
    with pytest.raises(EngineFailedError, match="not loaded"):
        await answer(engine, chat())


async def test_llamacpp_start_keeps_the_process_signal_handlers(engine: Engine) -> None:
    """llama-server takes SIGINT over; whoever runs the engine must get it."""
    assert engine
    before = len(_INTERRUPTS)
    signal.raise_signal(signal.SIGINT)
    assert len(_INTERRUPTS) == before + 1


@pytest.mark.parametrize(
    ("model", "complaint"),
    [
        ("no/such.gguf", "there is no file"),
        ("package:no_such_package/x.gguf", "no_such_package, which is not installed"),
        (str(MODELS), "is it a GGUF"),
    ],
)
async def test_llamacpp_model_that_cannot_be_loaded_is_a_configuration_error(
    model: str, complaint: str
) -> None:
    """The message says which file and what to look at."""
    engine = create_engine(smollm2(options={"model": model}))
    try:
        with pytest.raises(ConfigError, match=complaint):
            await engine.start()
    finally:
        await engine.close()
