"""The openai SDK for Python, asynchronous."""

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from typing import Any

import openai
from protocol import CITY, TOOL, Task, call_of, error_of, run, weather


def sdk(task: Task, **options: Any) -> openai.AsyncOpenAI:
    """A client."""
    return openai.AsyncOpenAI(**{"base_url": task.url, "api_key": task.key, "max_retries": 0, **options})


async def chat(task: Task) -> Mapping[str, Any]:
    """A whole answer."""
    wanted = {"max_tokens": task.scenario["max_tokens"]} if "max_tokens" in task.scenario else {}
    answer = await sdk(task).chat.completions.create(model=task.model, messages=task.messages, **wanted)
    choice, usage = answer.choices[0], answer.usage
    assert usage is not None
    return {
        "text": choice.message.content,
        "finish": choice.finish_reason,
        "completion_tokens": usage.completion_tokens,
    }


async def stream(task: Task) -> Mapping[str, Any]:
    """A streamed answer."""
    answer = await sdk(task).chat.completions.create(
        model=task.model, messages=task.messages, stream=True, stream_options={"include_usage": True}
    )
    chunks = [chunk async for chunk in answer]
    choices = [chunk.choices[0] for chunk in chunks if chunk.choices]
    texts = [choice.delta.content for choice in choices if choice.delta.content]
    assert chunks[-1].usage is not None
    return {
        "text": "".join(texts),
        "deltas": len(texts),
        "finish": choices[-1].finish_reason,
        "completion_tokens": chunks[-1].usage.completion_tokens,
    }


async def tool_loop(task: Task) -> Mapping[str, Any]:
    """Calls the tool, tells its result, reads the answer."""
    create: Any = sdk(task).chat.completions.create
    answer = await create(model=task.model, messages=task.messages, tools=[TOOL])
    first = answer.choices[0].message
    calls = [call_of(call.function.name, call.function.arguments) for call in first.tool_calls]
    results = [
        {"role": "tool", "tool_call_id": call.id, "content": weather(**told["arguments"])}
        for call, told in zip(first.tool_calls, calls, strict=True)
    ]
    answer = await create(model=task.model, messages=[*task.messages, first, *results], tools=[TOOL])
    return {"calls": calls, "words": len(answer.choices[0].message.content.split())}


async def tools_stream(task: Task) -> Mapping[str, Any]:
    """A call as the SDK's own helper joins it."""
    helper: Any = sdk(task).chat.completions.stream
    async with helper(model=task.model, messages=task.messages, tools=[TOOL]) as events:
        message = (await events.get_final_completion()).choices[0].message
    return {"calls": [call_of(call.function.name, call.function.arguments) for call in message.tool_calls]}


async def required_tool(task: Task) -> Mapping[str, Any]:
    """A call that is demanded."""
    create: Any = sdk(task).chat.completions.create
    answer = await create(model=task.model, messages=task.messages, tools=[TOOL], tool_choice="required")
    calls = answer.choices[0].message.tool_calls
    return {"calls": [call_of(call.function.name, call.function.arguments) for call in calls]}


async def structured(task: Task) -> Mapping[str, Any]:
    """JSON of a schema."""
    create: Any = sdk(task).chat.completions.create
    wanted = {"type": "json_schema", "json_schema": {"name": "city", "schema": CITY, "strict": True}}
    answer = await create(model=task.model, messages=task.messages, response_format=wanted)
    return {"data": call_of("", answer.choices[0].message.content)["arguments"]}


async def logprobs(task: Task) -> Mapping[str, Any]:
    """A log-probability a token."""
    create: Any = sdk(task).chat.completions.create
    answer = await create(model=task.model, messages=task.messages, logprobs=True, top_logprobs=2)
    return {"logprobs": len(answer.choices[0].logprobs.content)}


async def choices(task: Task) -> Mapping[str, Any]:
    """Several answers."""
    create: Any = sdk(task).chat.completions.create
    answer = await create(model=task.model, messages=task.messages, n=task.scenario["n"])
    texts = [choice.message.content for choice in answer.choices]
    return {"choices": len(texts), "different": len(set(texts)) == len(texts)}


async def error(task: Task) -> Mapping[str, Any]:
    """A refusal."""
    scenario = task.scenario
    client = sdk(task, api_key=scenario.get("key", task.key))
    try:
        await client.chat.completions.create(
            model=scenario.get("model", task.model),
            messages=task.messages,
            max_tokens=scenario.get("max_tokens", 5),
        )
    except openai.APIStatusError as refusal:
        return error_of(refusal)
    return {}


async def retry(task: Task) -> Mapping[str, Any]:
    """The first try gets 503."""
    client = sdk(task, base_url=task.flaky_url, max_retries=2)
    answer = await client.chat.completions.create(model=task.model, messages=task.messages)
    return {"text": answer.choices[0].message.content}


async def timeout(task: Task) -> Mapping[str, Any]:
    """The answer takes longer than the client waits."""
    try:
        await sdk(task, timeout=task.scenario["timeout_s"]).chat.completions.create(
            model=task.slow_model, messages=task.messages
        )
    except openai.APITimeoutError:
        return {"timed_out": True}
    return {}


async def cancellation(task: Task) -> Mapping[str, Any]:
    """The client leaves after the first words."""
    answer = await sdk(task).chat.completions.create(
        model=task.slow_model, messages=task.messages, stream=True
    )
    async for chunk in answer:
        if chunk.choices[0].delta.content:
            await answer.close()
            return {"cancelled": True}
    return {}


def blocking(handler: Callable[[Task], Coroutine[Any, Any, Mapping[str, Any]]]) -> Callable[[Task], Any]:
    """The handler on a loop of its own."""
    return lambda task: asyncio.run(handler(task))


if __name__ == "__main__":
    run(
        {
            one.__name__: blocking(one)
            for one in (
                chat,
                stream,
                tool_loop,
                tools_stream,
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
