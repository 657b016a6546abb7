"""Text completions with several prompts, and bodies as clients really send them."""

import gzip
import json
from collections import defaultdict
from typing import Any

import httpx
import openai
import pytest
import zstandard

from schemas.inference import End, ErrorDetail, InferenceRequested, Outcome
from tests.integration.gateway.conftest import Scene, StartGateway, client_of, until
from tests.support.inference.fake_inference import FakeInference, words_of

PROMPTS = ["hello", "world", "again"]
COMPLETIONS = "/v1/completions"


def text(prompt: str, choice: int = 0) -> str:
    """What the fake inference side answers."""
    return "".join(words_of(prompt, choice, 20))


EXPECTED = {0: text("hello"), 1: text("hello", 1), 2: text("world"), 3: text("world", 1)}


@pytest.fixture
async def sdk(scene: Scene, client: httpx.AsyncClient) -> Any:
    """The openai SDK."""
    async with openai.AsyncOpenAI(base_url=f"{client.base_url}/v1", api_key=scene.key, max_retries=0) as made:
        yield made


async def test_each_prompt_has_its_choices_in_one_answer(
    scene: Scene, sdk: openai.AsyncOpenAI, inference: FakeInference
) -> None:
    """Choices are numbered over prompts x n, and usage is of all."""
    whole = await sdk.completions.create(model=scene.model, prompt=PROMPTS[:2], n=2)
    single = await sdk.completions.create(model=scene.model, prompt=PROMPTS[0], n=2)
    assert {choice.index: choice.text for choice in whole.choices} == EXPECTED
    assert [choice.index for choice in whole.choices] == [0, 1, 2, 3]
    assert whole.usage is not None
    assert single.usage is not None
    assert whole.usage.completion_tokens == 2 * single.usage.completion_tokens
    assert whole.usage.total_tokens == whole.usage.prompt_tokens + whole.usage.completion_tokens


async def test_each_prompt_has_its_choices_in_one_stream(
    scene: Scene, sdk: openai.AsyncOpenAI, inference: FakeInference
) -> None:
    """One id, the choices' chunks in between each other, usage once at the end."""
    stream = await sdk.completions.create(
        model=scene.model, prompt=PROMPTS[:2], n=2, stream=True, stream_options={"include_usage": True}
    )
    texts: dict[int, str] = defaultdict(str)
    chunks = [chunk async for chunk in stream]
    finished = []
    for chunk in chunks:
        for choice in chunk.choices:
            texts[choice.index] += choice.text
            finished += [choice.index] if choice.finish_reason else []
    assert texts == EXPECTED
    assert sorted(finished) == [0, 1, 2, 3]
    assert len({chunk.id for chunk in chunks}) == 1
    assert [chunk.usage.completion_tokens for chunk in chunks if chunk.usage] == [80]


async def test_stream_of_several_prompts_has_no_event_ids(
    scene: Scene, client: httpx.AsyncClient, inference: FakeInference
) -> None:
    """It cannot be taken up again, so nothing invites a client to try."""
    response = await client.post(COMPLETIONS, json={"model": scene.model, "prompt": PROMPTS, "stream": True})
    assert response.text.endswith("data: [DONE]\n\n")
    assert "id: " not in response.text.replace('"id"', "")


@pytest.mark.parametrize("stream", [True, False])
async def test_failure_of_one_prompt_ends_the_answer(
    scene: Scene, client: httpx.AsyncClient, inference: FakeInference, *, stream: bool
) -> None:
    """It is told as an error, and what still runs is cancelled."""

    def fail_one(request: InferenceRequested, end: End) -> End:
        detail = ErrorDetail(status=400, code="invalid_request", message="no such word", param="prompt")
        failed = end.model_copy(update={"outcome": Outcome.FAILED, "error": detail})
        return failed if request.prompt == "world" else end

    inference.prepare_end = fail_one
    response = await client.post(
        COMPLETIONS, json={"model": scene.model, "prompt": PROMPTS, "stream": stream}
    )
    assert response.status_code == (200 if stream else 400)
    assert "no such word" in response.text
    assert "[DONE]" not in response.text


@pytest.mark.parametrize("stream", [True, False])
async def test_client_that_leaves_cancels_every_prompt(
    scene: Scene, start_gateway: StartGateway, inference: FakeInference, *, stream: bool
) -> None:
    """Nothing is generated for nobody."""
    gateway = await start_gateway()
    inference.gate.clear()
    async with client_of(gateway, scene) as client:
        with pytest.raises(httpx.ReadTimeout):
            await client.post(
                COMPLETIONS,
                json={"model": scene.model, "prompt": PROMPTS, "stream": stream},
                timeout=httpx.Timeout(5.0, read=1.5),
            )
    await inference.until(lambda: len({one.request_id for one in inference.cancelled}) == 3)
    await until(lambda: gateway.serving.registry.serving == 0)


@pytest.mark.parametrize(
    ("prompt", "n", "param"),
    [
        (["a"] * 17, 1, "prompt"),
        (["a"] * 6, 3, "prompt"),
        ("a", 17, "n"),
        ([1, 2], 1, "prompt"),
        ([], 1, "prompt"),
    ],
)
async def test_too_many_choices_and_token_ids_are_400(
    scene: Scene, client: httpx.AsyncClient, prompt: Any, n: int, param: str
) -> None:
    """The limit is of prompts x n."""
    response = await client.post(COMPLETIONS, json={"model": scene.model, "prompt": prompt, "n": n})
    assert (response.status_code, response.json()["error"]["param"]) == (400, param)


@pytest.mark.parametrize(
    ("encoding", "pack"), [("gzip", gzip.compress), ("zstd", zstandard.compress), ("identity", bytes)]
)
async def test_compressed_body_is_served(
    scene: Scene, client: httpx.AsyncClient, inference: FakeInference, encoding: str, pack: Any
) -> None:
    """On every route that takes a body."""
    body = {"model": scene.model, "model_name": scene.model, "prompt": "hello"}
    body |= {"messages": [{"role": "user", "content": "hello"}]}  # type: ignore[dict-item]
    for path in (COMPLETIONS, "/v1/chat/completions", "/generate"):
        response = await client.post(
            path, content=pack(json.dumps(body).encode()), headers={"content-encoding": encoding}
        )
        assert response.status_code == 200


async def test_unknown_encoding_is_415_and_a_bomb_413(scene: Scene, client: httpx.AsyncClient) -> None:
    """In OpenAI's form under /v1, as problem+json elsewhere."""
    bomb = gzip.compress(bytes(4 << 20))
    for path in (COMPLETIONS, "/generate"):
        unknown = await client.post(path, content=b"x", headers={"content-encoding": "br"})
        large = await client.post(path, content=bomb, headers={"content-encoding": "gzip"})
        assert (unknown.status_code, large.status_code) == (415, 413)
        assert "gzip" in unknown.text


@pytest.mark.parametrize("stream", [True, False])
async def test_fields_that_nobody_knows_come_back_in_a_header(
    scene: Scene, client: httpx.AsyncClient, inference: FakeInference, *, stream: bool
) -> None:
    """A typo is told, on every route; a known body has no such header."""
    body: dict[str, Any] = {"model": scene.model, "prompt": "hello", "stream": stream}
    chat = body | {"messages": [{"role": "user", "content": "hello"}]}
    typo = {"temprature": 0.1, "a\r\nx-evil: 1": 2}
    header = "temprature, a%0D%0Ax-evil%3A%201"
    wanted = [
        (COMPLETIONS, body | typo, header),
        (COMPLETIONS, body | typo | {"prompt": PROMPTS}, header),
        (COMPLETIONS, body, None),
        ("/v1/chat/completions", chat | typo, "prompt, " + header),
        ("/generate", chat | typo | {"model_name": scene.model}, None),
    ]
    for path, given, expected in wanted:
        response = await client.post(path, json=given)
        assert response.status_code == 200
        assert "x-evil" not in response.headers
        if path != "/generate":
            assert response.headers.get("x-ignored-fields") == expected
        else:
            assert "temprature" in response.headers["x-ignored-fields"]
