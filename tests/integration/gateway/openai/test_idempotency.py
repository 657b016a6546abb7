"""Idempotency-Key over gateways and restarts: one generation, one answer."""

import asyncio
import json
from typing import Any

import httpx

from schemas.topics import IDEMPOTENCY_ANSWERS, IDEMPOTENCY_CLAIMS
from services.common.bus import Start, Tail
from services.gateway.app import Gateway
from tests.integration.gateway.conftest import Scene, StartGateway, client_of, until
from tests.support.inference.fake_inference import FakeInference, words_of


def chat(scene: Scene, prompt: str, **more: Any) -> dict[str, Any]:
    """A chat's body."""
    return {"model": scene.model, "messages": [{"role": "user", "content": prompt}], **more}


async def post(
    client: httpx.AsyncClient, body: dict[str, Any], key: str, path: str = "/v1/chat/completions"
) -> httpx.Response:
    """Sends a body with a key."""
    return await client.post(path, json=body, headers={"idempotency-key": key})


def text_of(answer: httpx.Response) -> str:
    """A stream's text."""
    lines = [line[6:] for line in answer.text.splitlines() if line.startswith("data: {")]
    choices = [choice for line in lines for choice in json.loads(line)["choices"]]
    return "".join(choice["delta"].get("content") or "" for choice in choices)


def asked(inference: FakeInference, prompt: str) -> int:
    """How often a prompt was asked."""
    return sum(prompt in (one.prompt, *(part["content"] for part in one.messages)) for one in inference.asked)


async def settled(gateway: Gateway, request_id: str) -> None:
    """Waits until a request's key is answered, as this gateway knows."""
    claims = gateway.serving.idempotency.claims
    await until(
        lambda: any(
            claim.answered_at_ms is not None and request_id in claim.request_ids for claim in claims.held
        )
    )


async def test_one_key_at_two_gateways_is_one_generation(
    scene: Scene, start_gateway: StartGateway, inference: FakeInference
) -> None:
    """Twenty calls at once: one is asked, all get its answer; so does a call after both
    gateways are gone. Another body, or path, is refused.
    """
    gateways = [await start_gateway() for _ in range(2)]
    async with client_of(gateways[0], scene) as one, client_of(gateways[1], scene) as two:
        calls = [post((one, two)[number % 2], chat(scene, "race"), "k-1") for number in range(20)]
        answers = await asyncio.gather(*calls)
        assert {answer.status_code for answer in answers} == {200}
        assert len({json.dumps(answer.json(), sort_keys=True) for answer in answers}) == 1
        assert answers[0].json()["choices"][0]["message"]["content"] == "".join(words_of("race", 0, 20))
        assert asked(inference, "race") == 1
        assert sum("idempotent-replayed" in answer.headers for answer in answers) == 19
        other = await post(one, chat(scene, "other"), "k-1")
        assert (other.status_code, other.json()["error"]["code"]) == (409, "idempotency_key_reused")
        assert other.headers["x-should-retry"] == "false"
        elsewhere = await post(one, {"model": scene.model, "prompt": "race"}, "k-1", "/v1/completions")
        assert elsewhere.status_code == 409
        await settled(gateways[1], answers[0].json()["id"])
    for gateway in gateways:
        await gateway.close()
    async with client_of(await start_gateway(), scene) as three:
        again = await post(three, chat(scene, "race"), "k-1")
    assert again.json() == answers[0].json()
    assert asked(inference, "race") == 1


async def test_a_client_that_left_comes_back_for_its_answer(
    scene: Scene, start_gateway: StartGateway, inference: FakeInference
) -> None:
    """The first call's connection breaks in the middle; the second follows the same
    generation, streams whole, and a third has it as a stream too; the answer in the log
    is readable to nobody.
    """
    gateway, other = await start_gateway(), await start_gateway()
    inference.gate.clear()
    inference.held_from = 2
    body = chat(scene, "secret words", stream=True)
    async with client_of(gateway, scene) as one, client_of(other, scene) as two:
        headers = {"idempotency-key": "k-2"}
        async with one.stream("POST", "/v1/chat/completions", json=body, headers=headers) as broken:
            await anext(broken.aiter_lines())
        second = asyncio.create_task(post(two, body, "k-2"))
        await until(lambda: other.serving.registry.serving == 1)
        inference.gate.set()
        whole = "".join(words_of("secret words", 0, 20))
        assert text_of(await second) == whole
        await settled(gateway, inference.asked[-1].request_id)
        third = await post(one, body, "k-2")
        assert text_of(third) == whole
        assert "\nid:" not in third.text
        assert third.text.endswith("data: [DONE]\n\n")
    assert asked(inference, "secret words") == 1
    assert not inference.cancelled
    for topic in (IDEMPOTENCY_ANSWERS.name, IDEMPOTENCY_CLAIMS.name):
        tail = Tail(scene.url, "spy", topic=topic)
        await tail.start(start=Start.BEGINNING)
        found = [record async for batch in tail.read_to_end() for record in batch]
        await tail.close()
        assert found
        assert not any(word in (one.value or b"") for one in found for word in (b"secret", b"k-2"))


async def test_calls_that_came_to_nothing_leave_the_key_free(
    scene: Scene, start_gateway: StartGateway, inference: FakeInference
) -> None:
    """A refused body, and a cancelled request: the key answers the next call. Prompts
    and /generate and /v1/responses take keys too; a bad key is 400.
    """
    async with client_of(await start_gateway(), scene) as client:
        wrong = await post(client, chat(scene, "third", n=99), "k-3")
        assert wrong.status_code == 400
        inference.gate.clear()
        first = asyncio.create_task(post(client, chat(scene, "third"), "k-3"))
        await inference.until(lambda: asked(inference, "third") == 1)
        await client.delete(f"/v1/requests/{inference.asked[-1].request_id}")
        assert (await first).json()["error"]["code"] == "request_cancelled"
        inference.gate.set()
        assert (await post(client, chat(scene, "third"), "k-3")).status_code == 200
        assert asked(inference, "third") == 2

        prompts = {"model": scene.model, "prompt": ["p one", "p two"]}
        generate = {"model_name": scene.model, "messages": [{"role": "user", "content": "gen"}]}
        response = {"model": scene.model, "input": "resp", "stream": True}
        for number, (path, body) in enumerate(
            [("/v1/completions", prompts), ("/generate", generate), ("/v1/responses", response)]
        ):
            twice = [await post(client, body, f"k-4-{number}", path) for _ in range(2)]
            assert [answer.status_code for answer in twice] == [200, 200]
            assert "idempotent-replayed" in twice[1].headers
            if path != "/generate":
                assert twice[0].text.replace("\r", "")[-400:] == twice[1].text[-400:]
        assert [asked(inference, prompt) for prompt in ("p one", "p two", "gen", "resp")] == [1, 1, 1, 1]
        for bad in ("", "x" * 256):
            assert (await post(client, chat(scene, "x"), bad)).status_code == 400
