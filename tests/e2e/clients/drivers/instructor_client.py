"""Instructor: the openai SDK, patched; answers of a pydantic model by a tool call."""

from collections.abc import Iterable, Mapping
from typing import Any

import instructor
import openai
from protocol import TOOL, Task, call_of, error_of, run, weather
from pydantic import BaseModel


class weather_model(BaseModel):  # noqa: N801  the tool is named after it
    """The weather in a city."""

    city: str


class City(BaseModel):
    """A city."""

    city: str
    people: int


weather_model.__name__ = "weather"


def client(task: Task, mode: instructor.Mode = instructor.Mode.TOOLS, **options: Any) -> Any:
    """A patched client."""
    given = {"base_url": task.url, "api_key": task.key, "max_retries": 0, **options}
    return instructor.from_openai(openai.OpenAI(**given), mode=mode)


def _create(task: Task, one: Any, **fields: Any) -> Any:
    given = {"model": task.model, "messages": task.messages, "response_model": None, **fields}
    return one.chat.completions.create(**given)


def chat(task: Task) -> Mapping[str, Any]:
    """Without a model it is the SDK's."""
    wanted = {"max_tokens": task.scenario["max_tokens"]} if "max_tokens" in task.scenario else {}
    answer = _create(task, client(task), **wanted)
    return {
        "text": answer.choices[0].message.content,
        "finish": answer.choices[0].finish_reason,
        "completion_tokens": answer.usage.completion_tokens,
    }


def stream(task: Task) -> Mapping[str, Any]:
    """Without a model it is the SDK's."""
    chunks = list(_create(task, client(task), stream=True, stream_options={"include_usage": True}))
    choices = [chunk.choices[0] for chunk in chunks if chunk.choices]
    texts = [choice.delta.content for choice in choices if choice.delta.content]
    return {
        "text": "".join(texts),
        "deltas": len(texts),
        "finish": choices[-1].finish_reason,
        "completion_tokens": chunks[-1].usage.completion_tokens,
    }


def tool_loop(task: Task) -> Mapping[str, Any]:
    """Several models by parallel calls, then the SDK's own way on."""
    wanted = _create(
        task,
        client(task, instructor.Mode.PARALLEL_TOOLS),
        response_model=Iterable[weather_model],
        tool_choice="auto",
    )
    calls = [call_of("weather", one.model_dump()) for one in wanted]
    called = {"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": "{}"}}
    history = [
        *task.messages,
        {"role": "assistant", "content": None, "tool_calls": [called]},
        {"role": "tool", "tool_call_id": "call_1", "content": weather(**calls[0]["arguments"])},
    ]
    answer = _create(task, client(task), messages=history, tools=[TOOL])
    return {"calls": calls, "words": len(answer.choices[0].message.content.split())}


def required_tool(task: Task) -> Mapping[str, Any]:
    """What Instructor does by default: one named function is demanded."""
    wanted = _create(task, client(task), response_model=weather_model)
    return {"calls": [call_of("weather", wanted.model_dump())]}


def structured(task: Task) -> Mapping[str, Any]:
    """By JSON schema."""
    wanted = _create(task, client(task, instructor.Mode.JSON_SCHEMA), response_model=City)
    return {"data": wanted.model_dump()}


def logprobs(task: Task) -> Mapping[str, Any]:
    """Without a model it is the SDK's."""
    answer = _create(task, client(task), logprobs=True, top_logprobs=2)
    return {"logprobs": len(answer.choices[0].logprobs.content)}


def choices(task: Task) -> Mapping[str, Any]:
    """Without a model it is the SDK's."""
    answer = _create(task, client(task), n=task.scenario["n"])
    texts = [choice.message.content for choice in answer.choices]
    return {"choices": len(texts), "different": len(set(texts)) == len(texts)}


def error(task: Task) -> Mapping[str, Any]:
    """The SDK's exception, or the one that Instructor wraps around it."""
    given = task.scenario
    one = client(task, api_key=given.get("key", task.key))
    fields = {"model": given.get("model", task.model), "max_tokens": given.get("max_tokens", 5)}
    try:
        _create(task, one, response_model=City, max_retries=1, **fields)
    except Exception as wrapped:  # noqa: BLE001  what of it is the SDK's is looked for
        cause: Any = wrapped
        while cause is not None and not isinstance(cause, openai.APIStatusError):
            cause = cause.__cause__ or cause.__context__
        return error_of(cause)
    return {}


def retry(task: Task) -> Mapping[str, Any]:
    """The first try gets 503."""
    one = client(task, base_url=task.flaky_url, max_retries=2)
    return {"text": _create(task, one).choices[0].message.content}


def timeout(task: Task) -> Mapping[str, Any]:
    """The answer takes longer than the client waits."""
    one = client(task, timeout=task.scenario["timeout_s"])
    try:
        _create(task, one, model=task.slow_model)
    except openai.APITimeoutError:
        return {"timed_out": True}
    return {}


def cancellation(task: Task) -> Mapping[str, Any]:
    """The client leaves after the first words."""
    answer = _create(task, client(task), model=task.slow_model, stream=True)
    for chunk in answer:
        if chunk.choices[0].delta.content:
            answer.close()
            return {"cancelled": True}
    return {}


if __name__ == "__main__":
    run(
        {
            one.__name__: one
            for one in (
                chat,
                stream,
                tool_loop,
                required_tool,
                structured,
                logprobs,
                choices,
                error,
                retry,
                timeout,
                cancellation,
            )
        }
    )
