"""The transformers engine on a tiny random model: what counts is the traffic, not the
words.
"""

import asyncio
import string
from collections.abc import Callable, Iterator
from contextlib import aclosing
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from services.common.errors import ConfigError
from services.common.requests.model_catalogue import ENGINE_CAPABILITIES, ModelConfig
from services.inference.engines import create_engine
from services.inference.engines.base import (
    Engine,
    EngineFailedError,
    GenerationRequest,
    InvalidRequestError,
    Piece,
    Sampling,
    Usage,
)

if TYPE_CHECKING:
    from services.inference.engines.transformers import TransformersEngine

if find_spec("torch") is None:
    pytest.skip(
        "the transformers engine's libraries are an extra: install tocsin[transformers]",
        allow_module_level=True,
    )
TEMPLATE = "{% for message in messages %}{{ message.role }}: {{ message.content }}\n{% endfor %}assistant: "
CONTEXT = 96


def save_tiny_model(folder: Path, *, template: str | None = TEMPLATE) -> None:
    """A two-layer Llama with random weights and a token for every printable ASCII
    character, space (Ġ) and newline (Ċ).
    """
    # Here, as they take long: every worker collects this file, and one runs it.
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    alphabet = [*string.ascii_letters, *string.digits, *string.punctuation, "Ġ", "Ċ"]
    tokenizer = Tokenizer(
        models.BPE(
            vocab={"<end>": 0, **{letter: number for number, letter in enumerate(alphabet, 1)}}, merges=[]
        )
    )
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    wrapped = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<end>")
    wrapped.chat_template = template
    wrapped.save_pretrained(folder)
    torch.manual_seed(5)
    shape = {
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
    }
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(alphabet) + 1,
            max_position_embeddings=256,
            eos_token_id=0,
            bos_token_id=None,
            **shape,
        )
    )
    model.save_pretrained(folder)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny model's files."""
    folder = tmp_path_factory.mktemp("tiny")
    save_tiny_model(folder)
    return folder


def tiny(folder: Path, **changes: Any) -> "TransformersEngine":
    """An engine for the tiny model, not started."""
    options = {"model": str(folder), "device": "cpu", "page_size": 16, "max_batch_tokens": 64}
    values: dict[str, Any] = {
        "name": "tiny",
        "engine": "transformers",
        "options": options,
        "context_length": CONTEXT,
        "slots": 2,
    }
    from services.inference.engines.transformers import TransformersEngine

    engine = create_engine(ModelConfig(**values | changes))
    assert isinstance(engine, TransformersEngine)
    return engine


@pytest.fixture(scope="module")
def engine(folder: Path) -> "Iterator[TransformersEngine]":
    """One running engine for all tests that leave it whole."""
    engine = tiny(folder)
    with asyncio.Runner() as runner:
        runner.run(engine.start())
        yield engine
        runner.run(engine.close())


def asked(
    prompt: str = "abc",
    *,
    delivered: tuple[str, ...] = (),
    delivered_tokens: tuple[int, ...] = (),
    **sampling: Any,
) -> GenerationRequest:
    """A greedy completion."""
    values = {"temperature": 0.0, "max_tokens": 12, **sampling}
    return GenerationRequest(
        "r",
        "completion",
        prompt=prompt,
        sampling=Sampling(**values),
        delivered=delivered,
        delivered_tokens=delivered_tokens,
    )


async def answer(engine: Engine, request: GenerationRequest) -> tuple[list[Piece], Usage]:
    """Everything that one generation gives."""
    async with asyncio.timeout(60):
        *pieces, usage = [item async for item in engine.generate(request)]
    assert isinstance(usage, Usage)
    return [piece for piece in pieces if isinstance(piece, Piece)], usage


def text_of(pieces: list[Piece], choice: int = 0) -> str:
    """One choice's text."""
    return "".join(piece.text for piece in pieces if piece.index == choice)


async def test_transformers_greedy_streams_and_counts(engine: "TransformersEngine") -> None:
    """Tokens come one after the other up to the limit, and the same each time."""
    pieces, usage = await answer(engine, asked())
    again, _ = await answer(engine, asked())
    assert len(pieces) > 3
    assert pieces[-1].finish_reason == "length"
    assert usage == Usage(prompt_tokens=3, completion_tokens=12)
    assert sum(piece.tokens for piece in pieces) == 12
    assert text_of(again) == text_of(pieces) != ""


async def test_transformers_continuation_goes_on_behind_what_was_delivered(
    engine: "TransformersEngine",
) -> None:
    """Greedy text goes on as it would have; budget and usage count the whole."""
    whole, whole_usage = await answer(engine, asked("What", max_tokens=16))
    text = text_of(whole)
    head = text[:7]
    rest, usage = await answer(
        engine, asked("What", max_tokens=16, delivered=(head,), delivered_tokens=(len(head),))
    )
    assert head + text_of(rest) == text
    assert usage == whole_usage


async def test_transformers_with_everything_delivered_only_ends(engine: "TransformersEngine") -> None:
    """A spent budget yields the end and nothing else."""
    pieces, usage = await answer(engine, asked(delivered=("xyz",), delivered_tokens=(12,)))
    assert pieces == [Piece(index=0, text="", finish_reason="length")]
    assert usage.completion_tokens == 12


async def test_transformers_stop_string_ends_the_text_and_frees_the_place(
    engine: "TransformersEngine",
) -> None:
    """Generation is cancelled at the stop string; nothing is left behind in the batch."""
    text = text_of((await answer(engine, asked(max_tokens=20)))[0])
    stop = text[4:6]
    pieces, _ = await answer(engine, asked(max_tokens=20, stop=(stop,)))
    assert text_of(pieces) == text[: text.index(stop)]
    assert pieces[-1].finish_reason == "stop"
    await until_empty(engine)


async def test_transformers_requests_at_once_are_each_as_if_alone(engine: "TransformersEngine") -> None:
    """Batched together, more than there are slots, every greedy text is its own."""
    prompts = ["one", "two", "three", "four", "five"]
    alone = [text_of((await answer(engine, asked(prompt)))[0]) for prompt in prompts]
    together = await asyncio.gather(*(answer(engine, asked(prompt)) for prompt in prompts))
    assert [text_of(pieces) for pieces, _ in together] == alone


async def test_transformers_several_choices_all_end(engine: "TransformersEngine") -> None:
    """Sampled choices differ; usage counts them all."""
    pieces, usage = await answer(engine, asked(n=3, temperature=1.5))
    assert len({text_of(pieces, choice) for choice in range(3)}) > 1
    assert sorted(piece.index for piece in pieces if piece.finish_reason) == [0, 1, 2]
    assert usage.completion_tokens == sum(piece.tokens for piece in pieces)


async def test_transformers_chat_uses_the_models_template(engine: "TransformersEngine") -> None:
    """A conversation is the completion of its rendered template."""
    chat = GenerationRequest(
        "r",
        "chat",
        messages=({"role": "user", "content": "Hi"},),
        sampling=Sampling(temperature=0.0, max_tokens=6),
    )
    pieces, _ = await answer(engine, chat)
    expected, _ = await answer(engine, asked("user: Hi\nassistant: ", max_tokens=6))
    assert text_of(pieces) == text_of(expected)


async def test_transformers_prompt_beyond_the_context_is_refused_and_others_served(
    engine: "TransformersEngine",
) -> None:
    """The request that would have killed the loop never reaches it."""
    with pytest.raises(
        InvalidRequestError, match=f"{CONTEXT} tokens and the context only {CONTEXT}"
    ) as raised:
        await answer(engine, asked("x" * CONTEXT))
    assert raised.value.param == "prompt"
    pieces, usage = await answer(engine, asked("x" * (CONTEXT - 5), max_tokens=50))
    assert (usage.completion_tokens, pieces[-1].finish_reason) == (5, "length")
    assert await engine.healthy()


async def test_transformers_reader_that_leaves_frees_its_place(engine: "TransformersEngine") -> None:
    """Closing the generator cancels the request in the batch."""
    async with aclosing(engine.generate(asked(max_tokens=80))) as stream:
        assert isinstance(await anext(stream), Usage)
        assert isinstance(await anext(stream), Piece)
    await until_empty(engine)
    assert (await answer(engine, asked()))[1].completion_tokens == 12


async def test_transformers_whose_loop_dies_fails_its_readers_and_is_unhealthy(folder: Path) -> None:
    """A dead loop is noticed: by those who wait, and by the health check."""
    engine = tiny(folder)
    await engine.start()
    engine._manager.model = None  # the next step fails as a broken GPU would
    with pytest.raises(EngineFailedError, match="transformers failed"):
        await answer(engine, asked())
    await until(lambda: not engine._manager.is_running())
    assert not await engine.healthy()
    with pytest.raises(EngineFailedError, match="not running"):
        await answer(engine, asked())
    await engine.close()


async def test_transformers_model_without_chat_template_says_what_to_do(tmp_path: Path) -> None:
    """It can serve completions only, and the models file must say so."""
    save_tiny_model(tmp_path, template=None)
    with pytest.raises(ConfigError, match="without chat"):
        await tiny(tmp_path).start()
    engine = tiny(tmp_path, capabilities=ENGINE_CAPABILITIES["transformers"] - {"chat"})
    await engine.start()
    await engine.close()
    assert not await engine.healthy()


async def test_transformers_folder_that_is_no_model_is_a_configuration_error(tmp_path: Path) -> None:
    """The message names the model and the folder."""
    with pytest.raises(ConfigError, match=r"tiny.*cannot be loaded"):
        await tiny(tmp_path).start()


async def until_empty(engine: "TransformersEngine") -> None:
    """Waits until nothing is scheduled in the batch and no handler is left."""
    await until(
        lambda: (
            not engine._manager.batch_processor.has_pending_requests()
            and not engine._manager.output_router.result_handlers
        )
    )


async def until(condition: Callable[[], bool]) -> None:
    """Waits for something that transformers' thread does."""
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110  its thread sets no event
            await asyncio.sleep(0.01)
