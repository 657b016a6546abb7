"""HTTP to engine and back, with the real dispatchers and replicas."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from schemas.inference import Outcome
from services.gateway.app import Gateway, build
from services.inference.engines.scripted import scripted_text
from tests.integration.gateway.conftest import Scene, client_of, until
from tests.support.control import make_key
from tests.support.inference.in_process import Stage, completed_events, scripted_model, stage
from tests.support.kafka import Broker
from tests.support.sse_client import OpenStream, open_stream


@dataclass
class WholePath:
    """Everything that runs, and a client of each of two gateways."""

    stage: Stage
    gateways: list[Gateway]
    clients: list[httpx.AsyncClient]

    @property
    def model(self) -> str:
        """The model's name."""
        return self.stage.model.name

    def body(self, prompt: str, tokens: int, **more: Any) -> dict[str, Any]:
        """A text completion, streamed."""
        return {
            "model": self.model,
            "prompt": prompt,
            "max_tokens": tokens,
            "seed": 1,
            "stream": True,
            **more,
        }


@pytest.fixture
async def path(kafka: Broker, tmp_path: Path) -> AsyncIterator[WholePath]:
    """Two gateways before one model that gives 40 tokens a second."""
    model = scripted_model(tokens_per_s=40, price={"input_per_million_usd": 1, "output_per_million_usd": 2})
    models_file = tmp_path / "models.yaml"
    models_file.write_text(
        yaml.safe_dump(
            {
                "models": [
                    model.model_dump(
                        mode="json", include={"name", "engine", "options", "slots", "context_length"}
                    )
                ]
            }
        )
    )
    async with stage(kafka.bootstrap, model) as running, contextlib.AsyncExitStack() as stack:
        key, _ = await make_key(kafka.bootstrap)
        scene = Scene(kafka.bootstrap, model.name, models_file, key)
        gateways, clients = [], []
        for _ in range(2):
            gateway = build(scene.settings())
            stack.push_async_callback(gateway.close)
            await gateway.start()
            working = asyncio.create_task(gateway.run())
            stack.callback(working.cancel)
            gateways.append(gateway)
            clients.append(await stack.enter_async_context(client_of(gateway, scene)))
        yield WholePath(running, gateways, clients)


def text_of(stream: OpenStream, index: int = 0) -> str:
    """The text of a choice."""
    choices = [
        choice for _, data in stream.blocks if data != "[DONE]" for choice in json.loads(data)["choices"]
    ]
    return "".join(choice["text"] for choice in choices if choice["index"] == index)


async def test_streams_of_a_killed_replica_have_the_undisturbed_text(kafka: Broker, path: WholePath) -> None:
    """Ten streams over two gateways, two choices each; their replica dies in the
    middle: every text is the very text of an undisturbed run.
    """
    await path.stage.add_dispatcher()
    first = await path.stage.add_replica()

    async def follow(number: int) -> None:
        body = path.body(f"story {number}", 60, n=2)
        async with open_stream(path.clients[number % 2], "POST", "/v1/completions", json=body) as stream:
            await stream.read()
        assert [text_of(stream, index) for index in (0, 1)] == [
            scripted_text(f"story {number}", 60, seed=1, choice=index) for index in (0, 1)
        ]
        assert stream.blocks[-1][1] == "[DONE]"

    async with asyncio.TaskGroup() as tasks:
        for number in range(10):
            tasks.create_task(follow(number))
        await until(
            lambda: (
                sum(
                    len(reply_stream.state.choices[0].text) > 20
                    for gateway in path.gateways
                    for reply_stream in gateway.serving.registry._serving
                )
                >= 4
            )
        )
        await path.stage.add_replica()
        await first.die()
    events = await completed_events(kafka.bootstrap, path.model, 10)
    assert len({event.request_id for event in events}) == len(events) == 10
    assert {event.outcome for event in events} == {Outcome.COMPLETED}
    assert {event.completion_tokens for event in events} == {120}
    assert max(event.attempts for event in events) == 2


async def test_stream_survives_the_death_of_its_dispatcher(kafka: Broker, path: WholePath) -> None:
    """A running stream does not notice; its end is told once, by the standby."""
    active = await path.stage.add_dispatcher()
    await path.stage.add_replica()
    async with open_stream(path.clients[0], "POST", "/v1/completions", json=path.body("story", 60)) as stream:
        await stream.read(2)
        await path.stage.add_dispatcher()
        await active.die()
        await stream.read()
    assert text_of(stream) == scripted_text("story", 60, seed=1)
    (event,) = await completed_events(kafka.bootstrap, path.model, 1)
    assert (event.outcome, event.attempts) == (Outcome.COMPLETED, 1)


async def test_stream_taken_up_at_another_gateway_is_whole_through_a_death(
    kafka: Broker, path: WholePath
) -> None:
    """The first gateway is gone, the client reattaches, then the replica dies: the rest
    is exactly the rest.
    """
    await path.stage.add_dispatcher()
    first = await path.stage.add_replica()
    async with open_stream(
        path.clients[0],
        "POST",
        "/v1/completions",
        json=path.body("story", 80),
        headers={"x-resume-window": "60"},
    ) as stream:
        await stream.read(3)
    async with open_stream(
        path.clients[1],
        "GET",
        f"/v1/streams/{stream.request_id}",
        headers={"last-event-id": stream.blocks[-1][0]},
    ) as rest:
        stream.blocks += await rest.read(2)
        await path.stage.add_replica()
        await first.die()
        stream.blocks += await rest.read()
    assert text_of(stream) == scripted_text("story", 80, seed=1)
    assert stream.blocks[-1][1] == "[DONE]"
    (event,) = await completed_events(kafka.bootstrap, path.model, 1)
    assert (event.outcome, event.attempts, event.completion_tokens) == (Outcome.COMPLETED, 2, 80)


async def test_client_that_leaves_ends_as_cancelled(kafka: Broker, path: WholePath) -> None:
    """Closing the connection stops the generation, and the books say so."""
    await path.stage.add_dispatcher()
    await path.stage.add_replica()
    async with open_stream(
        path.clients[0], "POST", "/v1/completions", json=path.body("story", 4000)
    ) as stream:
        await stream.read(2)
    (event,) = await completed_events(kafka.bootstrap, path.model, 1)
    assert (event.outcome, event.stream) == (Outcome.CANCELLED, True)


async def test_whole_answers_stop_count_and_refuse(kafka: Broker, path: WholePath) -> None:
    """Stop strings, log-probabilities, usage and the engine's refusal reach the client
    as OpenAI's API has them.
    """
    await path.stage.add_dispatcher()
    await path.stage.add_replica()
    words = scripted_text("story", 10, seed=1).split()
    body = path.body("story", 10, stream=False, stop=[words[5]], logprobs=0)
    answer = (await path.clients[0].post("/v1/completions", json=body)).json()
    assert answer["choices"][0]["finish_reason"] == "stop"
    assert answer["choices"][0]["text"].split() == words[:5]
    assert answer["usage"]["prompt_tokens"] == 1
    assert len(answer["choices"][0]["logprobs"]["tokens"]) >= 5
    refused = await path.clients[0].post("/v1/completions", json=path.body("word " * 4000, 200, stream=False))
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, "prompt")
