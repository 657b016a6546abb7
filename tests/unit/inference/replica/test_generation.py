"""One attempt: what is reported of it, however it ends."""

import asyncio
from datetime import UTC, datetime, timedelta

from schemas.inference import InferenceRequested, Lane, Outcome, ReplyBeat, ReplyChunk, ReplyTo, Sampling
from services.common.requests.model_catalogue import ModelConfig
from services.inference.engines import create_engine
from services.inference.replica.generation import Generation


def request(**changes: object) -> InferenceRequested:
    """A streamed completion of five words."""
    now = datetime.now(UTC)
    return InferenceRequested(
        request_id="r",
        kind="completion",
        model="m",
        lane=Lane.INTERACTIVE,
        tenant="t",
        key_id="k",
        prompt="five words are a prompt",
        reply_to=ReplyTo(partition=0, gateway_id="g"),
        requested_at=now,
        deadline=now + timedelta(seconds=30),
        stream=True,
    ).model_copy(update=changes)


def model(**options: float) -> ModelConfig:
    """A scripted model."""
    return ModelConfig(name="m", engine="scripted", context_length=1000, options=options)


async def test_generation_when_cancelled_reports_the_prompt_and_the_tokens_seen() -> None:
    """The prompt was read, whatever the client waited for."""
    engine = create_engine(model(tokens_per_s=50))
    await engine.start()
    first = asyncio.Event()

    async def publish(reply: ReplyChunk | ReplyBeat) -> None:
        first.set()

    generation = Generation(request(), "m#1", "m", publish)
    running = asyncio.create_task(generation.run(engine))
    await first.wait()
    generation.cancelled = True
    running.cancel()
    end = (await running).end
    assert end.outcome is Outcome.CANCELLED
    assert end.usage.prompt_tokens == 5
    assert 1 <= end.usage.completion_tokens < 32


async def test_generation_to_its_end_reports_what_the_engine_counted() -> None:
    """Usage of a whole answer is the engine's last word."""
    engine = create_engine(model())
    await engine.start()

    async def publish(_reply: ReplyChunk | ReplyBeat) -> None:
        return

    finished = await Generation(request(sampling=Sampling(max_tokens=7)), "m#1", "m", publish).run(engine)
    assert finished.end.outcome is Outcome.COMPLETED
    assert (finished.end.usage.prompt_tokens, finished.end.usage.completion_tokens) == (5, 7)


async def test_generation_tells_its_first_tokens_time_once_and_as_its_end_does() -> None:
    """Whoever follows the stream must know it should the replica die before the end."""
    engine = create_engine(model())
    await engine.start()
    chunks: list[ReplyChunk] = []

    async def publish(reply: ReplyChunk | ReplyBeat) -> None:
        assert isinstance(reply, ReplyChunk)
        chunks.append(reply)

    finished = await Generation(request(sampling=Sampling(max_tokens=7)), "m#1", "m", publish).run(engine)
    timed = [one for one in chunks if one.ttft_ms is not None]
    assert [(one.queue_ms, one.ttft_ms) for one in timed] == [(finished.end.queue_ms, finished.end.ttft_ms)]
    assert timed == [one for one in chunks if one.pieces][:1]


async def test_generation_that_is_cut_off_is_a_whole_answer_of_what_was_seen() -> None:
    """It is paid for as far as it went; each choice says why it ended."""
    engine = create_engine(model(tokens_per_s=50))
    await engine.start()
    first, chunks = asyncio.Event(), list[ReplyChunk]()

    async def publish(reply: ReplyChunk | ReplyBeat) -> None:
        if isinstance(reply, ReplyChunk):
            chunks.append(reply)
        first.set()

    generation = Generation(request(sampling=Sampling(n=2)), "m#1", "m", publish)
    running = asyncio.create_task(generation.run(engine))
    await first.wait()
    generation.cancel(cut_off=True)
    finished = await running
    assert finished.end.outcome is Outcome.COMPLETED
    assert [choice.finish_reason for choice in finished.choices] == ["content_filter"] * 2
    told = [piece for one in chunks for piece in one.pieces]
    assert [piece.finish_reason for piece in told if piece.finish_reason] == ["content_filter"] * 2
    assert finished.end.usage.completion_tokens == sum(piece.tokens for piece in told) > 0
    assert finished.end.usage.prompt_tokens == 5
