"""LlamaIndex's OpenAILike."""

from collections.abc import Mapping
from typing import Any

import openai
from llama_index.core.llms import ChatMessage
from llama_index.core.tools import FunctionTool
from llama_index.llms.openai_like import OpenAILike
from protocol import Task, call_of, error_of, run, weather

WEATHER_TOOL = FunctionTool.from_defaults(fn=weather)


def llm(task: Task, **options: Any) -> Any:
    """A chat model that calls functions."""
    given = {
        "api_base": task.url,
        "api_key": task.key,
        "model": task.model,
        "max_retries": 0,
        "is_chat_model": True,
        "is_function_calling_model": True,
        "timeout": 30.0,
        **options,
    }
    return OpenAILike(**given)


def _asked(task: Task) -> list[ChatMessage]:
    return [ChatMessage(role="user", content=task.prompt)]


def chat(task: Task) -> Mapping[str, Any]:
    """A whole answer."""
    answer = llm(task, max_tokens=task.scenario.get("max_tokens")).chat(_asked(task))
    return {
        "text": answer.message.content,
        "finish": answer.raw.choices[0].finish_reason,
        "completion_tokens": answer.raw.usage.completion_tokens,
    }


def stream(task: Task) -> Mapping[str, Any]:
    """Deltas, with the usage of the last chunk."""
    wanted = llm(task, additional_kwargs={"stream_options": {"include_usage": True}})
    answers = list(wanted.stream_chat(_asked(task)))
    finish = [one.raw.choices[0].finish_reason for one in answers if one.raw.choices]
    return {
        "text": answers[-1].message.content,
        "deltas": sum(bool(one.delta) for one in answers),
        "finish": next((reason for reason in reversed(finish) if reason), None),
        "completion_tokens": answers[-1].raw.usage.completion_tokens,
    }


def tool_loop(task: Task) -> Mapping[str, Any]:
    """predict_and_call's two halves: the call, then the answer to its result."""
    wanted = llm(task)
    first = wanted.chat_with_tools([WEATHER_TOOL], chat_history=_asked(task))
    calls = wanted.get_tool_calls_from_response(first)
    results = [
        ChatMessage(
            role="tool",
            content=str(WEATHER_TOOL.call(**call.tool_kwargs)),
            additional_kwargs={"tool_call_id": call.tool_id},
        )
        for call in calls
    ]
    answer = wanted.chat_with_tools([WEATHER_TOOL], chat_history=[*_asked(task), first.message, *results])
    told = [call_of(call.tool_name, call.tool_kwargs) for call in calls]
    return {"calls": told, "words": len(answer.message.content.split())}


def tools_stream(task: Task) -> Mapping[str, Any]:
    """The last of the growing answers."""
    wanted = llm(task)
    answers = list(wanted.stream_chat_with_tools([WEATHER_TOOL], chat_history=_asked(task)))
    calls = wanted.get_tool_calls_from_response(answers[-1])
    return {"calls": [call_of(call.tool_name, call.tool_kwargs) for call in calls]}


def required_tool(task: Task) -> Mapping[str, Any]:
    """A call that is demanded."""
    wanted = llm(task)
    answer = wanted.chat_with_tools([WEATHER_TOOL], chat_history=_asked(task), tool_required=True)
    calls = wanted.get_tool_calls_from_response(answer)
    return {"calls": [call_of(call.tool_name, call.tool_kwargs) for call in calls]}


def logprobs(task: Task) -> Mapping[str, Any]:
    """In the answer as LlamaIndex reads it."""
    answer = llm(task, logprobs=True, top_logprobs=2).chat(_asked(task))
    return {"logprobs": len(answer.raw.choices[0].logprobs.content)}


def error(task: Task) -> Mapping[str, Any]:
    """The SDK's own exceptions."""
    given = task.scenario
    wanted = llm(
        task,
        api_key=given.get("key", task.key),
        model=given.get("model", task.model),
        max_tokens=given.get("max_tokens", 5),
    )
    try:
        wanted.chat(_asked(task))
    except openai.APIStatusError as refusal:
        return error_of(refusal)
    return {}


def retry(task: Task) -> Mapping[str, Any]:
    """The first try gets 503."""
    answer = llm(task, api_base=task.flaky_url, max_retries=3).chat(_asked(task))
    return {"text": answer.message.content}


def timeout(task: Task) -> Mapping[str, Any]:
    """The answer takes longer than the client waits."""
    try:
        llm(task, model=task.slow_model, timeout=task.scenario["timeout_s"]).chat(_asked(task))
    except openai.APITimeoutError:
        return {"timed_out": True}
    return {}


def cancellation(task: Task) -> Mapping[str, Any]:
    """The generator is closed after the first words."""
    answers = llm(task, model=task.slow_model).stream_chat(_asked(task))
    for answer in answers:
        if answer.delta:
            answers.close()
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
                logprobs,
                error,
                retry,
                timeout,
                cancellation,
            )
        }
    )
