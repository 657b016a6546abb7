"""The openai SDK, unchanged, against a gateway on a real socket."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any

import openai
import pytest

from services.gateway.app import Gateway
from tests.integration.gateway.conftest import Scene, StartGateway
from tests.support.inference.fake_inference import FakeInference, words_of

WHOLE = "".join(words_of("hello", 0, 20))
MESSAGES: Any = [{"role": "user", "content": "hello"}]


@pytest.fixture
async def gateway(start_gateway: StartGateway) -> Gateway:
    """One gateway with a small body limit."""
    return await start_gateway(max_body_bytes=20_000)


@pytest.fixture
async def asynchronous(scene: Scene, gateway: Gateway) -> AsyncIterator[openai.AsyncOpenAI]:
    """The asynchronous SDK."""
    async with openai.AsyncOpenAI(
        base_url=f"http://127.0.0.1:{gateway.port}/v1", api_key=scene.key, max_retries=0
    ) as sdk:
        yield sdk


@pytest.fixture
def synchronous(scene: Scene, gateway: Gateway) -> Iterator[openai.OpenAI]:
    """The synchronous SDK; its calls run beside the gateway's loop."""
    with openai.OpenAI(
        base_url=f"http://127.0.0.1:{gateway.port}/v1", api_key=scene.key, max_retries=0
    ) as sdk:
        yield sdk


async def test_async_sdk_answers_and_streams(
    scene: Scene, asynchronous: openai.AsyncOpenAI, inference: FakeInference
) -> None:
    """Whole and streamed chats give the same text, with usage in the last chunk."""
    whole = await asynchronous.chat.completions.create(model=scene.model, messages=MESSAGES)
    stream = await asynchronous.chat.completions.create(
        model=scene.model, messages=MESSAGES, stream=True, stream_options={"include_usage": True}
    )
    chunks = [chunk async for chunk in stream]
    assert whole.choices[0].message.content == WHOLE
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices) == WHOLE
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.completion_tokens == 20
    assert whole._request_id == whole.id


async def test_sync_sdk_answers_and_streams(
    scene: Scene, synchronous: openai.OpenAI, inference: FakeInference
) -> None:
    """The synchronous client does the same, for text completions too."""

    def ask() -> tuple[str | None, str, str]:
        whole = synchronous.chat.completions.create(model=scene.model, messages=MESSAGES)
        streamed = synchronous.chat.completions.create(model=scene.model, messages=MESSAGES, stream=True)
        text = "".join(chunk.choices[0].delta.content or "" for chunk in streamed)
        return (
            whole.choices[0].message.content,
            text,
            synchronous.completions.create(model=scene.model, prompt="hello").choices[0].text,
        )

    assert await asyncio.to_thread(ask) == (WHOLE, WHOLE, WHOLE)


async def test_sdk_raises_the_right_exception(
    scene: Scene, gateway: Gateway, asynchronous: openai.AsyncOpenAI
) -> None:
    """A bad key, an unknown model, an oversized and a malformed body each raise what
    the SDK has for them.
    """
    stranger = asynchronous.with_options(api_key="tsn_aaaaaaaa_" + "b" * 43)
    with pytest.raises(openai.AuthenticationError):
        await stranger.chat.completions.create(model=scene.model, messages=MESSAGES)
    with pytest.raises(openai.NotFoundError) as unknown:
        await asynchronous.chat.completions.create(model="no-such-model", messages=MESSAGES)
    with pytest.raises(openai.APIStatusError) as oversized:
        await asynchronous.chat.completions.create(
            model=scene.model, messages=[{"role": "user", "content": "x" * 3_000_000}]
        )
    with pytest.raises(openai.BadRequestError) as malformed:
        await asynchronous.chat.completions.create(model=scene.model, messages=[])
    assert unknown.value.code == "model_not_found"
    assert oversized.value.status_code == 413
    assert malformed.value.param == "messages"


async def test_sdk_raises_on_a_stream_that_breaks_off(
    scene: Scene, asynchronous: openai.AsyncOpenAI, inference: FakeInference
) -> None:
    """A cancelled stream is an exception after what was delivered, never a quiet end."""
    inference.gate.clear()
    stream = await asynchronous.chat.completions.create(model=scene.model, messages=MESSAGES, stream=True)
    first = await anext(aiter(stream))
    await asynchronous.delete(f"/requests/{first.id}", cast_to=object)
    with pytest.raises(openai.APIError, match="cancelled"):
        async for _ in stream:
            pass


async def test_sdk_lists_models(scene: Scene, asynchronous: openai.AsyncOpenAI) -> None:
    """The model list parses, and a model is found by its alias."""
    assert [model.id async for model in asynchronous.models.list()] == [scene.model]
    assert (await asynchronous.models.retrieve(f"{scene.model}-alias")).object == "model"
