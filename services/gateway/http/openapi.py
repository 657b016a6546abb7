"""The OpenAPI document's parts."""

from collections.abc import Sequence
from functools import partial
from typing import Any

from fastapi import FastAPI
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from services.common.http.docs import openapi
from services.common.http.docs.openapi import Responses
from services.common.requests.feedback import FeedbackBody
from services.common.requests.model_catalogue import ModelConfig
from services.gateway.openai.requests import ChatBody, CompletionBody, GenerateBody
from services.gateway.openai.responses.body import ResponsesBody

_REF = "#/components/schemas/{model}"
_BODIES: tuple[type[BaseModel], ...] = (ChatBody, CompletionBody, GenerateBody, ResponsesBody, FeedbackBody)
_MEANINGS = openapi.MEANINGS | {
    400: "The request is malformed, or asks for what the model cannot honour: `param` names it. Or its "
    "prompt is blocked: `code` is prompt_injection, `category` says what kind, `request_id` its record; "
    "sending it again changes nothing.",
    401: "No good API key.",
    403: "The key lacks the scope.",
    409: "The request has ended, or the Idempotency-Key was used for another: `code` says which.",
    422: "The answer is longer than can be sent (`answer_too_large`): ask for less.",
    429: "Too much at once: see `retry-after`.",
    500: "The request, or the service, failed: `code` says which.",
    504: "Not in time: `code` says what was waited for.",
}
GENERATING = (400, 401, 403, 404, 408, 409, 413, 415, 422, 429, 500, 503, 504)
"""What a route that generates may answer with, where a request fails too."""

errors = partial(openapi.openai_errors, _MEANINGS)
"""The errors that a route under /v1 answers with, by their statuses."""
problems = partial(openapi.problems, _MEANINGS)
"""Those of a route elsewhere."""
IDEMPOTENCY_KEY = openapi.header(
    "Idempotency-Key",
    "A call with the same key and body within 24 hours gets the first one's answer; nothing is generated "
    "twice.",
)


def body_of(model: type[BaseModel]) -> dict[str, Any]:
    """A JSON body."""
    return openapi.json_body({"$ref": _REF.format(model=model.__name__)})


_RISK = {
    "x-risk": {
        "description": "The prompt's risk, of several the worst: none, low, medium, high or critical. Absent "
        "where it was not inspected.",
        "schema": {"type": "string"},
    }
}


def whole() -> Responses:
    """An answer in one piece."""
    return {
        200: {
            "description": "The answer.",
            "content": {"application/json": {"schema": {"type": "object"}}},
            "headers": _RISK,
        }
    }


def streamed() -> Responses:
    """An answer as server-sent events."""
    return {
        200: {
            "description": "Server-sent events: chunks, then `[DONE]`.",
            "content": {"text/event-stream": {}},
            "headers": _RISK,
        }
    }


def streamed_or_whole() -> Responses:
    """An answer in either form, as `stream` asks."""
    content = whole()[200]["content"] | streamed()[200]["content"]
    return {
        200: {
            "description": "The answer, as a whole or as server-sent events.",
            "content": content,
            "headers": _RISK,
        }
    }


def document(app: FastAPI, models: Sequence[ModelConfig]) -> None:
    """Completes an application's OpenAPI document with the bodies, an example of each
    that works as it stands, and how to authenticate.
    """

    def completed(found: dict[str, Any]) -> dict[str, Any]:
        _, definitions = models_json_schema([(model, "validation") for model in _BODIES], ref_template=_REF)
        found["components"].setdefault("schemas", {}).update(definitions["$defs"])
        for path, operations in found["paths"].items():
            if path.startswith("/v1/") or path == "/generate":
                for operation in operations.values():
                    operation["security"] = [{"key": []}]
        _add_examples(found["paths"], models)
        return found

    openapi.complete(app, completed)


def _add_examples(paths: dict[str, Any], models: Sequence[ModelConfig]) -> None:
    for operations in paths.values():
        for operation in operations.values():
            for content in operation.get("requestBody", {}).get("content", {}).values():
                name = content["schema"]["$ref"].rpartition("/")[2]
                content["example"] = _example(name, models)


def _example(body: str, models: Sequence[ModelConfig]) -> dict[str, Any]:
    chat, completion = (
        next((one.name for one in models if kind in one.capabilities), models[0].name)
        for kind in ("chat", "completion")
    )
    messages = [{"role": "user", "content": "What is the capital of France?"}]
    examples: dict[str, dict[str, Any]] = {
        "ChatBody": {"model": chat, "messages": messages},
        "ResponsesBody": {"model": chat, "input": "What is the capital of France?"},
        "GenerateBody": {"model_name": chat, "messages": messages},
        "CompletionBody": {"model": completion, "prompt": "The capital of France is"},
        "FeedbackBody": {"request_id": "chatcmpl-<the id of an answer>", "rating": 1},
    }
    return examples[body]
