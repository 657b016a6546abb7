"""pydantic-ai's agents, on the Responses API, which `openai:` means by default."""

import asyncio
from collections.abc import Mapping
from typing import Any

import openai
from protocol import Task, call_of, run, weather
from pydantic import BaseModel
from pydantic_ai import Agent
from pydantic_ai.exceptions import ModelAPIError, ModelHTTPError
from pydantic_ai.messages import ModelResponse, ToolCallPart
from pydantic_ai.models.openai import OpenAIResponsesModel
from pydantic_ai.output import NativeOutput
from pydantic_ai.providers.openai import OpenAIProvider

_FINISH = {"completed": "stop"}


class City(BaseModel):
    """A city."""

    city: str
    people: int


class weather_output(BaseModel):  # noqa: N801  the tool is named after it
    """The weather in a city."""

    city: str


weather_output.__name__ = "weather"


def agent(task: Task, *, model: str = "", client: Mapping[str, Any] | None = None, **options: Any) -> Any:
    """An agent on a client of its own."""
    given = {"base_url": task.url, "api_key": task.key, "max_retries": 0, **(client or {})}
    provider = OpenAIProvider(openai_client=openai.AsyncOpenAI(**given))
    return Agent(OpenAIResponsesModel(model or task.model, provider=provider), **options)


def _last(answer: Any) -> ModelResponse:
    return next(one for one in reversed(answer.all_messages()) if isinstance(one, ModelResponse))


def _calls(answer: Any) -> list[dict[str, Any]]:
    return [
        call_of(part.tool_name, part.args)
        for message in answer.all_messages()
        for part in message.parts
        if isinstance(part, ToolCallPart)
    ]


def chat(task: Task) -> Mapping[str, Any]:
    """A whole answer."""
    settings = {"max_tokens": task.scenario["max_tokens"]} if "max_tokens" in task.scenario else {}
    answer = agent(task, model_settings=settings).run_sync(task.prompt)
    last = _last(answer)
    return {
        "text": answer.output,
        "finish": last.finish_reason,
        "completion_tokens": answer.usage.output_tokens
        if not callable(answer.usage)
        else answer.usage().output_tokens,
    }


def stream(task: Task) -> Mapping[str, Any]:
    """Deltas of the text."""

    async def read() -> Mapping[str, Any]:
        async with agent(task).run_stream(task.prompt) as answer:
            texts = [text async for text in answer.stream_text(delta=True, debounce_by=None)]
            usage = answer.usage() if callable(answer.usage) else answer.usage
            return {
                "text": "".join(texts),
                "deltas": len(texts),
                "finish": _last(answer).finish_reason,
                "completion_tokens": usage.output_tokens,
            }

    return asyncio.run(read())


def tool_loop(task: Task) -> Mapping[str, Any]:
    """The agent's own loop."""
    answer = agent(task, tools=[weather]).run_sync(task.prompt)
    return {"calls": _calls(answer), "words": len(answer.output.split())}


def tools_stream(task: Task) -> Mapping[str, Any]:
    """The same, streamed."""

    async def read() -> Mapping[str, Any]:
        async with agent(task, tools=[weather]).run_stream(task.prompt) as answer:
            await answer.get_output()
            return {"calls": _calls(answer)}

    return asyncio.run(read())


def required_tool(task: Task) -> Mapping[str, Any]:
    """A typed output by default demands a call."""
    from pydantic_ai.output import ToolOutput

    wanted = agent(task, output_type=ToolOutput(weather_output, name="weather"))
    return {"calls": _calls(wanted.run_sync(task.prompt))}


def structured(task: Task) -> Mapping[str, Any]:
    """By JSON schema."""
    answer = agent(task, output_type=NativeOutput(City)).run_sync(task.prompt)
    return {"data": answer.output.model_dump()}


def logprobs(task: Task) -> Mapping[str, Any]:
    """In the text part's details."""
    settings = {"openai_logprobs": True, "openai_top_logprobs": 2}
    answer = agent(task, model_settings=settings).run_sync(task.prompt)
    details = [part.provider_details for part in _last(answer).parts]
    return {"logprobs": len(details[0]["logprobs"])}


def error(task: Task) -> Mapping[str, Any]:
    """pydantic-ai's own exception."""
    given = task.scenario
    wanted = agent(
        task,
        model=given.get("model", ""),
        client={"api_key": given.get("key", task.key)},
        model_settings={"max_tokens": given.get("max_tokens", 5)},
    )
    try:
        wanted.run_sync(task.prompt)
    except ModelHTTPError as refusal:
        body: Any = refusal.body
        return {"status": refusal.status_code, "code": body["code"]}
    return {}


def retry(task: Task) -> Mapping[str, Any]:
    """The first try gets 503."""
    wanted = agent(task, client={"base_url": task.flaky_url, "max_retries": 2})
    return {"text": wanted.run_sync(task.prompt).output}


def timeout(task: Task) -> Mapping[str, Any]:
    """The answer takes longer than the client waits."""
    wanted = agent(task, model=task.slow_model, model_settings={"timeout": task.scenario["timeout_s"]})
    try:
        wanted.run_sync(task.prompt)
    except (openai.APITimeoutError, ModelAPIError):
        return {"timed_out": True}
    return {}


def cancellation(task: Task) -> Mapping[str, Any]:
    """The stream is left after the first words."""

    async def read() -> Mapping[str, Any]:
        async with agent(task, model=task.slow_model).run_stream(task.prompt) as answer:
            async for text in answer.stream_text(delta=True, debounce_by=None):
                if text:
                    break
        return {"cancelled": True}

    return asyncio.run(read())


if __name__ == "__main__":
    run(
        {
            one.__name__: one
            for one in (
                chat,
                stream,
                tool_loop,
                tools_stream,
                required_tool,
                structured,
                logprobs,
                error,
                retry,
                timeout,
                cancellation,
            )
        }
    )
