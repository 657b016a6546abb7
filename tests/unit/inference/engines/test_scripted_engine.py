"""The scripted engine says exactly what a test can compute."""

from contextlib import aclosing

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.common.requests.model_catalogue import ModelConfig
from services.inference.engines import create_engine
from services.inference.engines.base import GenerationRequest, InvalidRequestError, Piece, Sampling, Usage
from services.inference.engines.scripted import ScriptedEngine, prompt_of, scripted_text, scripted_token


def scripted(**options: float) -> ScriptedEngine:
    """An engine with the given options."""
    engine = create_engine(
        ModelConfig(name="scripted", engine="scripted", options=options, context_length=1000)
    )
    assert isinstance(engine, ScriptedEngine)
    return engine


def asked(
    *,
    prompt: str = "tell me",
    delivered: tuple[str, ...] = (),
    delivered_tokens: tuple[int, ...] = (),
    **sampling: object,
) -> GenerationRequest:
    """A completion request."""
    sampling_values = Sampling(**sampling)  # type: ignore[arg-type]  keywords from each test
    return GenerationRequest(
        "r",
        "completion",
        prompt=prompt,
        sampling=sampling_values,
        delivered=delivered,
        delivered_tokens=delivered_tokens,
    )


async def played(engine: ScriptedEngine, request: GenerationRequest) -> tuple[list[Piece], Usage]:
    """Everything that one generation gives."""
    *pieces, usage = [item async for item in engine.generate(request)]
    assert isinstance(usage, Usage)
    return [piece for piece in pieces if isinstance(piece, Piece)], usage


async def test_scripted_first_attempt_gives_the_computed_text() -> None:
    """Text, count and usage follow from prompt, seed and max_tokens."""
    pieces, usage = await played(scripted(), asked(max_tokens=200, seed=7))
    assert "".join(piece.text for piece in pieces) == scripted_text("tell me", 200, seed=7)
    assert sum(piece.tokens for piece in pieces) == 200
    assert pieces[0].tokens == 1
    assert pieces[-1].finish_reason == "length"
    assert usage == Usage(prompt_tokens=2, completion_tokens=200)


async def test_scripted_without_max_tokens_plays_its_own_length_and_stops() -> None:
    """A script that was not cut short ends of itself."""
    pieces, _ = await played(scripted(default_tokens=5), asked())
    assert pieces[-1].finish_reason == "stop"
    assert "".join(piece.text for piece in pieces) == scripted_text("tell me", 5)


async def test_scripted_at_a_rate_gives_the_same_text() -> None:
    """Pace changes when pieces come, never what they say."""
    pieces, _ = await played(
        scripted(tokens_per_s=2000, time_to_first_token_s=0.01, tick_s=0.005), asked(max_tokens=50)
    )
    assert "".join(piece.text for piece in pieces) == scripted_text("tell me", 50)
    assert pieces[0].tokens == 1


@given(
    cut=st.integers(0, 400),
    seed=st.integers(0, 5),
    stop=st.sampled_from([(), ("arb",), ("maple candle",), ("r", "em")]),
)
async def test_scripted_continuation_from_any_character_completes_the_same_text(
    cut: int, seed: int, stop: tuple[str, ...]
) -> None:
    """generate() = delivered + generate(delivered), tokens and end included, wherever
    the first attempt broke off.
    """
    engine = scripted(tokens_per_piece=7)
    whole, whole_usage = await played(engine, asked(max_tokens=40, seed=seed, stop=stop))
    delivered, tokens, released = "", 0, 0
    for piece in whole[:-1]:
        released += len(piece.text)
        if released <= cut:
            delivered, tokens = delivered + piece.text, tokens + piece.tokens
    rest, rest_usage = await played(
        engine, asked(max_tokens=40, seed=seed, stop=stop, delivered=(delivered,), delivered_tokens=(tokens,))
    )
    assert delivered + "".join(piece.text for piece in rest) == "".join(piece.text for piece in whole)
    assert rest[-1].finish_reason == whole[-1].finish_reason
    assert rest_usage == whole_usage


async def test_scripted_continuation_inside_a_token_gives_its_other_part() -> None:
    """What was delivered may end in the middle of a word."""
    text = scripted_text("tell me", 3)
    rest, _ = await played(scripted(), asked(max_tokens=3, delivered=(text[:3],), delivered_tokens=(0,)))
    assert "".join(piece.text for piece in rest) == text[3:]


async def test_scripted_continuation_of_foreign_text_goes_on_by_count() -> None:
    """Text of another engine is followed by the tokens that come after as many."""
    rest, usage = await played(
        scripted(), asked(max_tokens=6, delivered=("Bonjour tout le monde",), delivered_tokens=(4,))
    )
    assert "".join(piece.text for piece in rest) == scripted_token("tell me", 4) + scripted_token(
        "tell me", 5
    )
    assert usage.completion_tokens == 6


async def test_scripted_with_everything_delivered_only_ends() -> None:
    """A failover after the last token lacks nothing but the end."""
    rest, usage = await played(
        scripted(), asked(max_tokens=4, delivered=(scripted_text("tell me", 4),), delivered_tokens=(4,))
    )
    assert rest == [Piece(index=0, text="", finish_reason="length")]
    assert usage.completion_tokens == 4


async def test_scripted_with_several_choices_plays_each_its_own_script() -> None:
    """Choices differ, interleave and end one by one."""
    pieces, usage = await played(scripted(), asked(n=3, max_tokens=10))
    for choice in range(3):
        assert "".join(piece.text for piece in pieces if piece.index == choice) == scripted_text(
            "tell me", 10, choice=choice
        )
    assert [piece.index for piece in pieces[:3]] == [0, 1, 2]
    assert usage.completion_tokens == 30


async def test_scripted_choice_that_had_its_end_gets_no_more() -> None:
    """Of two choices, the one that lacks its end is continued; with both ended only the
    count is left.
    """
    first, second = scripted_text("tell me", 6), scripted_text("tell me", 6, choice=1)
    delivered = {"delivered": (first, second[:9]), "delivered_tokens": (6, 1)}
    values = Sampling(n=2, max_tokens=6)
    pieces, usage = await played(
        scripted(),
        GenerationRequest(
            "r",
            "completion",
            prompt="tell me",
            sampling=values,
            delivered_finish=("length", None),
            **delivered,
        ),
    )
    assert {piece.index for piece in pieces} == {1}
    assert second[:9] + "".join(piece.text for piece in pieces) == second
    assert usage.completion_tokens == 12
    ended = GenerationRequest(
        "r",
        "completion",
        prompt="tell me",
        sampling=values,
        delivered_finish=("length", "stop"),
        delivered=(first, "x"),
        delivered_tokens=(6, 1),
    )
    assert await played(scripted(), ended) == ([], Usage(prompt_tokens=2, completion_tokens=7))


async def test_scripted_with_logprobs_gives_one_per_token() -> None:
    """Every token brings its own, and they are negative."""
    pieces, _ = await played(scripted(), asked(logprobs=True, max_tokens=9))
    logprobs = [logprob for piece in pieces for logprob in piece.logprobs or ()]
    assert "".join(logprob.token for logprob in logprobs) == scripted_text("tell me", 9)
    assert all(-1 < logprob.logprob <= 0 for logprob in logprobs)


async def test_scripted_beyond_its_context_refuses_before_the_first_piece() -> None:
    """A prompt that is too long is the client's to mend."""
    with pytest.raises(InvalidRequestError, match="context of 1000") as raised:
        await played(scripted(), asked(prompt="word " * 999, max_tokens=10))
    assert raised.value.param == "prompt"


async def test_scripted_when_closed_early_stops_running() -> None:
    """Closing the generator frees its place."""
    engine = scripted()
    async with aclosing(engine.generate(asked(max_tokens=500))) as stream:
        assert isinstance(await anext(stream), Usage)
        await anext(stream)
        assert engine.running == 1
    assert engine.running == 0


def test_prompt_of_a_conversation_is_its_lines() -> None:
    """Chat scripts depend on roles and text, however the content is written."""
    parts = {"role": "user", "content": [{"type": "text", "text": "Hi "}, {"type": "text", "text": "there"}]}
    assert (
        prompt_of(GenerationRequest("r", "chat", messages=({"role": "system", "content": "Be brief"}, parts)))
        == "system: Be brief\nuser: Hi there"
    )
