"""Tools and /v1/responses from the openai SDK to the engine and back."""

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import openai
import pytest
import yaml

from services.common.requests.model_catalogue import OPTIONAL_CAPABILITIES
from services.gateway.app import build
from tests.integration.gateway.conftest import Scene
from tests.support.control import make_key
from tests.support.inference.in_process import Stage, scripted_model, stage
from tests.support.kafka import Broker

WEATHER = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
FUNCTION = {"name": "weather", "description": "Weather", "parameters": WEATHER}
TOOLS: Any = [{"type": "function", "function": FUNCTION}]
FLAT: Any = [{"type": "function", **FUNCTION, "strict": False}]
ASKED: Any = [{"role": "user", "content": 'weather({"city": "Zürich, Bern, Genf, Basel, Chur"}) please'}]
ARGUMENTS = {"city": "Zürich, Bern, Genf, Basel, Chur"}


@dataclass
class Served:
    """A gateway's SDK, and what serves it."""

    sdk: openai.AsyncOpenAI
    model: str
    stage: Stage


@pytest.fixture
async def served(kafka: Broker, tmp_path: Path) -> AsyncIterator[Served]:
    """One gateway before a scripted model that honours everything, 40 tokens a second."""
    model = scripted_model(
        tokens_per_s=40,
        capabilities=sorted(OPTIONAL_CAPABILITIES["scripted"]),
        options={"tokens_per_s": 40, "tokens_per_piece": 1},
    )
    fields = {"name", "engine", "options", "slots", "context_length", "capabilities"}
    models_file = tmp_path / "models.yaml"
    models_file.write_text(yaml.safe_dump({"models": [model.model_dump(mode="json", include=fields)]}))
    async with stage(kafka.bootstrap, model) as running:
        key, _ = await make_key(kafka.bootstrap)
        await running.add_dispatcher()
        await running.add_replica()
        gateway = build(Scene(kafka.bootstrap, model.name, models_file, key).settings())
        try:
            await gateway.start()
            working = asyncio.create_task(gateway.run())
            url = f"http://127.0.0.1:{gateway.port}/v1"
            async with openai.AsyncOpenAI(base_url=url, api_key=key, max_retries=0) as sdk:
                yield Served(sdk, model.name, running)
            working.cancel()
            await asyncio.gather(working, return_exceptions=True)
        finally:
            await gateway.close()


async def test_chat_calls_tools_whole_streamed_and_over_a_death(served: Served) -> None:
    """The same call each way; its replica's death in the middle repeats and loses
    nothing.
    """
    create: Any = served.sdk.chat.completions.create
    whole = await create(model=served.model, messages=ASKED, tools=TOOLS)
    (call,) = whole.choices[0].message.tool_calls
    assert (call.function.name, json.loads(call.function.arguments)) == ("weather", ARGUMENTS)
    assert (whole.choices[0].finish_reason, whole.choices[0].message.content) == ("tool_calls", None)

    stream = await create(model=served.model, messages=ASKED, tools=TOOLS, stream=True)
    parts: list[Any] = []
    finish = ""
    async for chunk in stream:
        parts += chunk.choices[0].delta.tool_calls or []
        finish = chunk.choices[0].finish_reason or finish
        if len(parts) == 3:
            await served.stage.add_replica()
            await served.stage.parts[1].die()
    assert [part.function.name for part in parts if part.function.name] == ["weather"]
    assert json.loads("".join(part.function.arguments or "" for part in parts)) == ARGUMENTS
    assert (parts[0].index, parts[0].type, finish) == (0, "function", "tool_calls")
    assert all(part.id is None for part in parts[1:])

    result = {"role": "tool", "tool_call_id": call.id, "content": "sunny"}
    history = [*ASKED, whole.choices[0].message.to_dict(), result]
    told = await create(model=served.model, messages=history, tools=TOOLS)
    assert told.choices[0].message.content
    assert not told.choices[0].message.tool_calls
    none = await create(model=served.model, messages=ASKED, tools=TOOLS, tool_choice="none")
    assert none.choices[0].finish_reason == "stop"


async def test_responses_answer_stream_call_and_refer(served: Served) -> None:
    """Text whole and streamed, a call and its output, JSON, an item referred to, and
    what is refused.
    """
    create: Any = served.sdk.responses.create
    whole = await create(model=served.model, input="Say: Grüße 🌍 to all", store=True)
    assert (whole.output_text, whole.status) == ("Grüße 🌍 to all", "completed")
    assert whole.usage.output_tokens == 4

    async with served.sdk.responses.stream(model=served.model, input="Say: Grüße 🌍 to all") as stream:
        kinds = [event.type async for event in stream]
        final = await stream.get_final_response()
    assert (kinds[0], kinds[-1]) == ("response.created", "response.completed")
    assert (final.output_text, final.usage) == (whole.output_text, whole.usage)

    called = await create(model=served.model, input=ASKED, tools=FLAT, tool_choice="required")
    (call,) = called.output
    assert (call.type, call.name, json.loads(call.arguments)) == ("function_call", "weather", ARGUMENTS)
    output = {"type": "function_call_output", "call_id": call.call_id, "output": "sunny"}
    for earlier in (call.to_dict(), {"type": "item_reference", "id": call.id}):
        told = await create(model=served.model, input=[*ASKED, earlier, output], tools=FLAT)
        assert told.output_text
    unknown = {"type": "item_reference", "id": f"msg_{'0' * 12}7{'0' * 3}8{'0' * 15}"}
    with pytest.raises(openai.BadRequestError, match="not known"):
        await create(model=served.model, input=[unknown])

    schema = {"type": "json_schema", "name": "w", "schema": WEATHER, "strict": True}
    formed = await create(model=served.model, input="go", text={"format": schema})
    assert json.loads(formed.output_text) == {"city": "amber"}
    cut = await create(model=served.model, input="hello", max_output_tokens=2)
    assert (cut.status, cut.incomplete_details.reason) == ("incomplete", "max_output_tokens")
    with pytest.raises(openai.BadRequestError) as refused:
        await create(model=served.model, input="hi", previous_response_id=whole.id)
    assert refused.value.param == "previous_response_id"
    with pytest.raises(openai.BadRequestError) as beyond:
        await create(model=served.model, input="hi", max_output_tokens=99_999)
    assert beyond.value.param == "max_output_tokens"
