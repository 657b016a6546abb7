"""Parts of the OpenAPI document that FastAPI cannot find in the routes' signatures."""

import re
from collections.abc import Collection
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel

from services.common.http.problems import ERROR_SCHEMA, PROBLEM_SCHEMA
from services.common.http.validation import drop_validation_error

Responses = dict[int | str, dict[str, Any]]

_MEANINGS = {
    400: "The request is malformed: `param` names the field, `errors` all of them.",
    401: "No good key, and no session.",
    403: "The key lacks the scope, the CSRF token is missing or wrong, or another site sent the request.",
    404: "There is no such thing for this key.",
    409: "The present state does not allow it.",
    412: "It was changed since the version that If-Match names.",
    428: "It replaces a list whole: send If-Match.",
    408: "The body did not come in time.",
    413: "The body is too large.",
    415: "The body's Content-Encoding is not served.",
    429: "Too many failures or look-ups: see `retry-after`.",
    503: "Not now: see `retry-after`.",
}
_OPEN = frozenset({"/health", "/ready", "/metrics"})
_BY_KEY = frozenset({("/api/auth/session", "post"), ("/api/auth/token", "post")})
"""They take the key in the body too."""


def body_of(model: type[BaseModel], *, required: bool = True) -> dict[str, Any]:
    """A JSON body that the route reads itself, bounded."""
    return {
        "requestBody": {
            "required": required,
            "content": {"application/json": {"schema": schema_of(model)}},
        }
    }


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
    names = re.findall(r"{(\w+)(?::path)?}", path)
    return {
        "parameters": [
            {"name": name, "in": "path", "required": True, "schema": {"type": "string"}} for name in names
        ]
    }


def header_of(name: str, description: str) -> dict[str, Any]:
    """A header that may be sent."""
    schema = {"type": "string"}
    return {"parameters": [{"name": name, "in": "header", "description": description, "schema": schema}]}


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


def problems(*statuses: int) -> Responses:
    """The errors that a route answers with, as RFC 9457 wants them."""
    content = {"application/problem+json": {"schema": PROBLEM_SCHEMA}}
    return {status: {"description": _MEANINGS[status], "content": content} for status in statuses}


def openai_errors(*statuses: int) -> Responses:
    """The errors that a route under /v1 answers with, in OpenAI's form."""
    content = {"application/json": {"schema": ERROR_SCHEMA}}
    return {status: {"description": _MEANINGS[status], "content": content} for status in statuses}


def document(app: FastAPI) -> None:
    """Completes an application's OpenAPI document with how to authenticate."""

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            found = get_openapi(
                title=app.title, version=app.version, description=app.description, routes=app.routes
            )
            found.setdefault("components", {})["securitySchemes"] = {
                "key": {"type": "http", "scheme": "bearer", "bearerFormat": "tsn_<id>_<secret>"},
                "session": {"type": "apiKey", "in": "cookie", "name": "tocsin_session"},
            }
            for path, operations in found["paths"].items():
                for method, operation in operations.items():
                    drop_validation_error(operation)
                    if path not in _OPEN and (path, method) not in _BY_KEY:
                        operation["security"] = [{"key": []}, {"session": []}]
            app.openapi_schema = _without_tuples(found)
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]
