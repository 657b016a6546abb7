"""Parts of the OpenAPI document that FastAPI cannot find in the routes' signatures."""

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel

Responses = dict[int | str, dict[str, Any]]

_PROBLEM = {
    "type": "object",
    "required": ["type", "title", "status", "detail", "code"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "code": {"type": "string"},
        "param": {"type": "string"},
    },
}
_MEANINGS = {
    400: "The request is malformed: `param` names the field.",
    401: "No good key, and no session.",
    403: "The key lacks the scope, the CSRF token is missing or wrong, or another site sent the request.",
    404: "There is no such thing for this key.",
    408: "The body did not come in time.",
    413: "The body is too large.",
    429: "Too many failures or look-ups: see `retry-after`.",
    503: "Not now: see `retry-after`.",
}
_OPEN = frozenset({"/health", "/ready", "/metrics"})


def body_of(model: type[BaseModel]) -> dict[str, Any]:
    """A JSON body that the route reads itself, bounded."""
    return {
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": model.model_json_schema()}},
        }
    }


def problems(*statuses: int) -> Responses:
    """The errors that a route answers with, as RFC 9457 wants them."""
    content = {"application/problem+json": {"schema": _PROBLEM}}
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
                    operation["responses"].pop("422", None)
                    if path not in _OPEN and (path, method) != ("/api/auth/session", "post"):
                        operation["security"] = [{"key": []}, {"session": []}]
            app.openapi_schema = found
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]
