"""Chat and text completions, whole and streamed, over the real bus."""

import asyncio
import json
from typing import Any

import httpx

from schemas.inference import End, ErrorDetail, Lane, Outcome
from tests.integration.gateway.conftest import Scene
from tests.support.inference.fake_inference import FakeInference, words_of
from tests.support.sse_client import blocks_of


def chat(scene: Scene, **more: Any) -> dict[str, Any]:
    """A chat request's body."""
    return {"model": scene.model, "messages": [{"role": "user", "content": "hello"}], **more}


async def test_chat_not_streamed_answers_the_whole_text(
    scene: Scene, client: httpx.AsyncClient, inference: FakeInference
) -> None:
    """A chat completion comes in one piece, in OpenAI's shape, with the usage that the
    replica counted.
    """
    response = await client.post("/v1/chat/completions", json=chat(scene))
    body = response.json()
    assert response.status_code == 200
    assert body["object"] == "chat.completion"
    assert body["choices"][0]["message"] == {
        "role": "assistant",
        "content": "".join(words_of("hello", 0, 20)),
        "refusal": None,
    }
    assert body["choices"][0]["finish_reason"] == "stop"
    assert body["usage"]["total_tokens"] == 27
    assert response.headers["x-request-id"] == body["id"] == inference.asked[0].request_id
    assert int(response.headers["openai-processing-ms"]) >= 0


async def test_chat_streamed_gives_role_text_finish_and_done(
    scene: Scene, client: httpx.AsyncClient, inference: FakeInference
) -> None:
    """A stream starts with the role, ends with a finish reason and [DONE], and every
    block has an id of its own.
    """
    response = await client.post("/v1/chat/completions", json=chat(scene, stream=True))
    blocks = blocks_of(response.text)
    chunks = [json.loads(data) for _, data in blocks[:-1]]
    assert blocks[-1][1] == "[DONE]"
    assert chunks[0]["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    assert "".join(chunk["choices"][0]["delta"].get("content", "") for chunk in chunks) == "".join(
        words_of("hello", 0, 20)
    )
    assert chunks[-1]["choices"][0] == {"index": 0, "delta": {}, "logprobs": None, "finish_reason": "stop"}
    assert len({(chunk["id"], chunk["created"], chunk["model"]) for chunk in chunks}) == 1
    assert len({event_id for event_id, _ in blocks}) == len(blocks)
    assert not any("usage" in chunk for chunk in chunks)
    assert response.headers["content-type"].startswith("text/event-stream")


async def test_chat_streamed_with_usage_ends_with_a_usage_chunk(
    scene: Scene, client: httpx.AsyncClient, inference: FakeInference
) -> None:
    """With include_usage every chunk says null but the last, which has no choices."""
    response = await client.post(
        "/v1/chat/completions", json=chat(scene, stream=True, stream_options={"include_usage": True})
    )
    chunks = [json.loads(data) for _, data in blocks_of(response.text)[:-1]]
    assert [chunk["usage"] for chunk in chunks[:-1]] == [None] * (len(chunks) - 1)
    assert chunks[-1]["choices"] == []
    assert chunks[-1]["usage"]["completion_tokens"] == 20


async def test_choices_of_n_interleave_by_index(
    scene: Scene, client: httpx.AsyncClient, inference: FakeInference
) -> None:
    """Two choices travel in one stream, each whole."""
    response = await client.post("/v1/chat/completions", json=chat(scene, stream=True, n=2))
    texts = {0: "", 1: ""}
    for _, data in blocks_of(response.text)[:-1]:
        choice = json.loads(data)["choices"][0]
        texts[choice["index"]] += choice["delta"].get("content", "")
    assert texts == {index: "".join(words_of("hello", index, 20)) for index in (0, 1)}


async def test_completion_and_its_streaming_alias_give_the_same_text(
    scene: Scene, client: httpx.AsyncClient, inference: FakeInference
) -> None:
    """/v1/completions answers whole, /v1/completions/stream always streams."""
    body = {"model": scene.model, "prompt": "once", "max_tokens": 5}
    whole = (await client.post("/v1/completions", json=body)).json()
    streamed = blocks_of((await client.post("/v1/completions/stream", json=body)).text)
    text = "".join(json.loads(data)["choices"][0]["text"] for _, data in streamed[:-1])
    assert whole["object"] == "text_completion"
    assert whole["choices"][0]["text"] == text == "".join(words_of("once", 0, 5))


async def test_service_tier_flex_goes_to_the_batch_lane(
    scene: Scene, client: httpx.AsyncClient, inference: FakeInference
) -> None:
    """Flex requests wait in their own lane, by an alias too; the model answers by its
    own name.
    """
    response = await client.post(
        "/v1/chat/completions",
        json=chat(scene, service_tier="flex", user="jo") | {"model": f"{scene.model}-alias"},
    )
    assert response.json()["model"] == scene.model
    assert inference.asked[0].lane is Lane.BATCH
    assert inference.asked[0].user.startswith("n_")


async def test_failure_of_the_replica_is_the_answers_status(
    scene: Scene, client: httpx.AsyncClient, inference: FakeInference
) -> None:
    """What the engine refuses reaches the client with its own status and param."""
    detail = ErrorDetail(status=400, code="context_length_exceeded", message="too long", param="messages")
    inference.prepare_end = lambda _request, _end: End(outcome=Outcome.FAILED, error=detail)
    response = await client.post("/v1/chat/completions", json=chat(scene))
    assert response.status_code == 400
    assert response.json()["error"] == {
        "message": "too long",
        "type": "invalid_request_error",
        "param": "messages",
        "code": "context_length_exceeded",
    }


async def test_failure_in_a_stream_is_an_error_and_no_done(
    scene: Scene, client: httpx.AsyncClient, inference: FakeInference
) -> None:
    """A stream that breaks off ends with an error event, never with a clean [DONE]."""
    inference.prepare_end = lambda _request, _end: End(outcome=Outcome.FAILED)
    blocks = blocks_of((await client.post("/v1/chat/completions", json=chat(scene, stream=True))).text)
    assert json.loads(blocks[-1][1])["error"]["code"] == "inference_failed"
    assert "[DONE]" not in [data for _, data in blocks]


async def test_generate_answers_in_the_platforms_form(
    scene: Scene, client: httpx.AsyncClient, inference: FakeInference
) -> None:
    """POST /generate gives result, latency, model, usage and request id."""
    body = {
        "model_name": scene.model,
        "messages": [{"role": "user", "content": [{"type": "text", "text": "hi"}]}],
        "max_tokens": 3,
    }
    answer = (await client.post("/generate", json=body)).json()
    assert set(answer) == {"result", "latency", "model", "usage", "request_id"}
    assert answer["usage"]["completion_tokens"] == 3


async def test_stream_that_waits_is_told_its_place_in_the_queue(
    scene: Scene, client: httpx.AsyncClient, inference: FakeInference
) -> None:
    """Comments at the front of the first block say where the request stands; the events
    themselves are what they always are.
    """
    inference.mute = True
    async with client.stream("POST", "/v1/chat/completions", json=chat(scene, stream=True)) as response:
        request_id = response.headers["x-request-id"]
        await inference.until(lambda: bool(inference.asked))
        lines = response.aiter_lines()

        async def told() -> str:
            return await anext(lines)

        telling = asyncio.create_task(inference.tell_queue({request_id: 3}, eta_ms=300))
        assert await told() == ": queue position=3 eta_ms=900"
        telling.cancel()
        inference.mute = False
        await inference.answer(inference.asked[0])
        rest = [line async for line in lines]
    assert rest[0].startswith("id: ")
    assert rest[-2] == "data: [DONE]"
