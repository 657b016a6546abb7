"""LangChain's ChatOpenAI."""

from collections.abc import Mapping
from typing import Any

import openai
from langchain_core.messages import HumanMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI
from protocol import CITY, Task, call_of, error_of, run, weather

WEATHER_TOOL = tool(weather)
MODEL: Any = ChatOpenAI


def model(task: Task, **options: Any) -> Any:
    """A chat model."""
    return MODEL(
        **{"base_url": task.url, "api_key": task.key, "model": task.model, "max_retries": 0, **options}
    )


def _told(answer: Any) -> Mapping[str, Any]:
    return {
        "text": answer.content,
        "finish": answer.response_metadata.get("finish_reason"),
        "completion_tokens": answer.usage_metadata["output_tokens"],
    }


def chat(task: Task) -> Mapping[str, Any]:
    """A whole answer."""
    return _told(model(task, max_tokens=task.scenario.get("max_tokens")).invoke(task.prompt))


def stream(task: Task) -> Mapping[str, Any]:
    """Chunks, added up as LangChain does."""
    chunks = list(model(task, stream_usage=True).stream(task.prompt))
    whole = chunks[0]
    for chunk in chunks[1:]:
        whole += chunk
    return {**_told(whole), "deltas": sum(bool(chunk.content) for chunk in chunks)}


def tool_loop(task: Task) -> Mapping[str, Any]:
    """bind_tools, then the tool's message."""
    bound = model(task).bind_tools([WEATHER_TOOL])
    first = bound.invoke(task.prompt)
    results = [WEATHER_TOOL.invoke(call) for call in first.tool_calls]
    answer = bound.invoke([("user", task.prompt), first, *results])
    calls = [call_of(call["name"], call["args"]) for call in first.tool_calls]
    return {"calls": calls, "words": len(answer.content.split())}


def tools_stream(task: Task) -> Mapping[str, Any]:
    """Chunks of a call, added up."""
    chunks = list(model(task).bind_tools([WEATHER_TOOL]).stream(task.prompt))
    whole = chunks[0]
    for chunk in chunks[1:]:
        whole += chunk
    return {"calls": [call_of(call["name"], call["args"]) for call in whole.tool_calls]}


def required_tool(task: Task) -> Mapping[str, Any]:
    """A call that is demanded; LangChain's word for it is any."""
    answer = model(task).bind_tools([WEATHER_TOOL], tool_choice="any").invoke(task.prompt)
    return {"calls": [call_of(call["name"], call["args"]) for call in answer.tool_calls]}


def structured(task: Task) -> Mapping[str, Any]:
    """with_structured_output by JSON schema."""
    schema = {"title": "city", **CITY}
    wanted = model(task).with_structured_output(schema, method="json_schema", strict=True)
    return {"data": wanted.invoke(task.prompt)}


def logprobs(task: Task) -> Mapping[str, Any]:
    """In the answer's metadata."""
    answer = model(task, logprobs=True, top_logprobs=2).invoke(task.prompt)
    return {"logprobs": len(answer.response_metadata["logprobs"]["content"])}


def choices(task: Task) -> Mapping[str, Any]:
    """N generations of one prompt."""
    generations = model(task, n=task.scenario["n"]).generate([[HumanMessage(task.prompt)]])
    texts = [one.text for one in generations.generations[0]]
    return {"choices": len(texts), "different": len(set(texts)) == len(texts)}


def error(task: Task) -> Mapping[str, Any]:
    """The SDK's own exceptions."""
    given = task.scenario
    wanted = model(
        task,
        api_key=given.get("key", task.key),
        model=given.get("model", task.model),
        max_tokens=given.get("max_tokens", 5),
    )
    try:
        wanted.invoke(task.prompt)
    except openai.APIStatusError as refusal:
        return error_of(refusal)
    return {}


def retry(task: Task) -> Mapping[str, Any]:
    """The first try gets 503."""
    return {"text": model(task, base_url=task.flaky_url, max_retries=2).invoke(task.prompt).content}


def timeout(task: Task) -> Mapping[str, Any]:
    """The answer takes longer than the client waits."""
    try:
        model(task, model=task.slow_model, timeout=task.scenario["timeout_s"]).invoke(task.prompt)
    except openai.APITimeoutError:
        return {"timed_out": True}
    return {}


def cancellation(task: Task) -> Mapping[str, Any]:
    """The generator is closed after the first words."""
    answer = model(task, model=task.slow_model).stream(task.prompt)
    for chunk in answer:
        if chunk.content:
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
