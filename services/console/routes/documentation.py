"""Parts of the OpenAPI document that FastAPI cannot find in the routes' signatures."""

import re
from collections.abc import Collection
from functools import partial
from typing import Any

from fastapi import FastAPI
from pydantic import BaseModel

from services.common.http.docs import openapi

_MEANINGS = openapi.MEANINGS | {
    400: "The request is malformed: `param` names the field, `errors` all of them.",
    401: "No good key, and no session.",
    403: "The key lacks the scope, the CSRF token is missing or wrong, or another site sent the request.",
    409: "The present state does not allow it.",
    412: "It was changed since the version that If-Match names.",
    428: "It replaces a list whole: send If-Match.",
    429: "Too many failures or look-ups: see `retry-after`.",
}
_OPEN = frozenset({"/health", "/ready", "/metrics"})
_BY_KEY = frozenset({("/api/auth/session", "post"), ("/api/auth/token", "post")})
"""They take the key in the body too."""

problems = partial(openapi.problems, _MEANINGS)
"""The errors that a route answers with, by their statuses."""
openai_errors = partial(openapi.openai_errors, _MEANINGS)
"""Those of a route under /v1."""


def body_of(model: type[BaseModel], *, required: bool = True) -> dict[str, Any]:
    """A JSON body."""
    return openapi.json_body(schema_of(model), required=required)


def schema_of(model: type[BaseModel]) -> dict[str, Any]:
    """A model's JSON schema that refers to nothing outside itself."""
    schema = model.model_json_schema()
    inlined: dict[str, Any] = _inlined(schema, schema.pop("$defs", {}))
    return inlined


def query_of(model: type[BaseModel], known: Collection[str]) -> dict[str, Any]:
    """A query string that the route reads itself."""
    fields = schema_of(model)["properties"]
    return {
        "parameters": [
            {"name": name, "in": "query", "required": False, "schema": fields[name]} for name in known
        ]
    }


def path_of(path: str) -> dict[str, Any]:
    """The parameters of a path that the route reads itself."""
    names = re.findall(r"{(\w+)(?::\w+)?}", path)
    return {
        "parameters": [
            {"name": name, "in": "path", "required": True, "schema": {"type": "string"}} for name in names
        ]
    }


def _inlined(schema: Any, definitions: dict[str, Any]) -> Any:
    if isinstance(schema, list):
        return [_inlined(one, definitions) for one in schema]
    if not isinstance(schema, dict):
        return schema
    if "$ref" in schema:
        found = definitions[schema["$ref"].removeprefix("#/$defs/")]
        schema = found | {key: value for key, value in schema.items() if key != "$ref"}
    return {key: _inlined(value, definitions) for key, value in schema.items()}


def _without_tuples(schema: Any) -> Any:
    """Tuples of one kind as lists of so many: programs that make clients, and those that
    check answers, know those.
    """
    if isinstance(schema, list):
        return [_without_tuples(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    found = {name: _without_tuples(value) for name, value in schema.items()}
    kinds = found.get("prefixItems")
    if isinstance(kinds, list) and all(one == kinds[0] for one in kinds):
        found["items"] = found.pop("prefixItems")[0]
    return found


def document(app: FastAPI) -> None:
    """Completes an application's OpenAPI document with how to authenticate."""
    openapi.complete(app, _completed)


def _completed(found: dict[str, Any]) -> dict[str, Any]:
    session = {"type": "apiKey", "in": "cookie", "name": "tocsin_session"}
    found["components"]["securitySchemes"]["session"] = session
    for path, operations in found["paths"].items():
        for method, operation in operations.items():
            if path not in _OPEN and (path, method) not in _BY_KEY:
                operation["security"] = [{"key": []}, {"session": []}]
    changed: dict[str, Any] = _without_tuples(found)
    return changed
