"""curl: bodies as one writes them by hand."""

import json
import subprocess
from collections.abc import Mapping
from typing import Any

from protocol import CITY, TOOL, Task, call_of, run, weather


def curl(task: Task, body: Mapping[str, Any], *options: str, url: str = "", key: str = "") -> str:
    """What curl prints, with the status on a line of its own at the end."""
    command = [
        "curl",
        "--silent",
        "--no-buffer",
        "--write-out",
        "\n%{http_code}",
        *options,
        f"{url or task.url}/chat/completions",
        "--header",
        f"authorization: Bearer {key or task.key}",
        "--json",
        json.dumps({"model": task.model, "messages": task.messages, **body}),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    return done.stdout if done.returncode != 28 else "timed out"


def answer_of(printed: str) -> Any:
    """The body."""
    return json.loads(printed.rpartition("\n")[0])


def chunks_of(printed: str) -> list[Any]:
    """The chunks of a stream."""
    lines = [line.removeprefix("data: ") for line in printed.splitlines() if line.startswith("data: ")]
    assert lines[-1] == "[DONE]"
    return [json.loads(line) for line in lines[:-1]]


def chat(task: Task) -> Mapping[str, Any]:
    """A whole answer."""
    wanted = {"max_tokens": task.scenario["max_tokens"]} if "max_tokens" in task.scenario else {}
    answer = answer_of(curl(task, wanted))
    choice = answer["choices"][0]
    return {
        "text": choice["message"]["content"],
        "finish": choice["finish_reason"],
        "completion_tokens": answer["usage"]["completion_tokens"],
    }


def stream(task: Task) -> Mapping[str, Any]:
    """A streamed answer."""
    chunks = chunks_of(curl(task, {"stream": True, "stream_options": {"include_usage": True}}))
    choices = [chunk["choices"][0] for chunk in chunks if chunk["choices"]]
    texts = [choice["delta"].get("content") for choice in choices if choice["delta"].get("content")]
    return {
        "text": "".join(texts),
        "deltas": len(texts),
        "finish": choices[-1]["finish_reason"],
        "completion_tokens": chunks[-1]["usage"]["completion_tokens"],
    }


def tool_loop(task: Task) -> Mapping[str, Any]:
    """Calls the tool, tells its result, reads the answer."""
    first = answer_of(curl(task, {"tools": [TOOL]}))["choices"][0]["message"]
    functions = [call["function"] for call in first["tool_calls"]]
    calls = [call_of(function["name"], function["arguments"]) for function in functions]
    result = {
        "role": "tool",
        "tool_call_id": first["tool_calls"][0]["id"],
        "content": weather(**calls[0]["arguments"]),
    }
    answer = answer_of(curl(task, {"tools": [TOOL], "messages": [*task.messages, first, result]}))
    return {"calls": calls, "words": len(answer["choices"][0]["message"]["content"].split())}


def tools_stream(task: Task) -> Mapping[str, Any]:
    """The parts of a call, joined by hand."""
    chunks = chunks_of(curl(task, {"tools": [TOOL], "stream": True}))
    parts = [part for chunk in chunks for part in chunk["choices"][0]["delta"].get("tool_calls", ())]
    assert [part["index"] for part in parts] == [0] * len(parts)
    assert parts[0]["type"] == "function"
    arguments = "".join(part["function"]["arguments"] for part in parts)
    return {"calls": [call_of(parts[0]["function"]["name"], arguments)]}


def required_tool(task: Task) -> Mapping[str, Any]:
    """A call that is demanded."""
    answer = answer_of(curl(task, {"tools": [TOOL], "tool_choice": "required"}))
    calls = [call["function"] for call in answer["choices"][0]["message"]["tool_calls"]]
    return {"calls": [call_of(call["name"], call["arguments"]) for call in calls]}


def structured(task: Task) -> Mapping[str, Any]:
    """JSON of a schema."""
    wanted = {"type": "json_schema", "json_schema": {"name": "city", "schema": CITY}}
    answer = answer_of(curl(task, {"response_format": wanted}))
    return {"data": json.loads(answer["choices"][0]["message"]["content"])}


def logprobs(task: Task) -> Mapping[str, Any]:
    """A log-probability a token."""
    answer = answer_of(curl(task, {"logprobs": True, "top_logprobs": 2}))
    return {"logprobs": len(answer["choices"][0]["logprobs"]["content"])}


def choices(task: Task) -> Mapping[str, Any]:
    """Several answers."""
    answer = answer_of(curl(task, {"n": task.scenario["n"]}))
    texts = [choice["message"]["content"] for choice in answer["choices"]]
    return {"choices": len(texts), "different": len(set(texts)) == len(texts)}


def error(task: Task) -> Mapping[str, Any]:
    """Status and code of a refusal."""
    given = task.scenario
    body = {"model": given.get("model", task.model), "max_tokens": given.get("max_tokens", 5)}
    printed = curl(task, body, key=given.get("key", ""))
    return {"status": int(printed.rpartition("\n")[2]), "code": answer_of(printed)["error"]["code"]}


def retry(task: Task) -> Mapping[str, Any]:
    """Curl tries again at 503."""
    printed = curl(task, {}, "--retry", "2", "--retry-delay", "1", url=task.flaky_url)
    last = printed[printed.rindex('{"id"') :]
    return {"text": answer_of(last)["choices"][0]["message"]["content"]}


def timeout(task: Task) -> Mapping[str, Any]:
    """The answer takes longer than the client waits."""
    wait = ("--max-time", str(task.scenario["timeout_s"]))
    return {"timed_out": curl(task, {"model": task.slow_model}, *wait) == "timed out"}


def cancellation(task: Task) -> Mapping[str, Any]:
    """Curl is cut off in the middle of a stream."""
    wait = ("--max-time", "1.5")
    printed = curl(task, {"model": task.slow_model, "stream": True}, *wait)
    return {"cancelled": printed == "timed out"}


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
