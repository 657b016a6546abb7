"""Parts of OpenAPI documents that FastAPI cannot find in the routes' signatures: routes
read raw requests.
"""

from collections.abc import Callable, Mapping
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from services.common.http.problems import ERROR_SCHEMA, PROBLEM_SCHEMA

Responses = dict[int | str, dict[str, Any]]

MEANINGS = {
    404: "There is no such thing for this key.",
    408: "The body did not come in time.",
    413: "The body is too large.",
    415: "The body's Content-Encoding is not served.",
    503: "Not now: see `retry-after`.",
}
"""What a status means at every service."""


def json_body(schema: Mapping[str, Any], *, required: bool = True) -> dict[str, Any]:
    """A JSON body that the route reads itself, bounded."""
    return {"requestBody": {"required": required, "content": {"application/json": {"schema": schema}}}}


def header(name: str, description: str) -> dict[str, Any]:
    """A header that may be sent."""
    parameter = {
        "name": name,
        "in": "header",
        "required": False,
        "description": description,
        "schema": {"type": "string"},
    }
    return {"parameters": [parameter]}


def problems(meanings: Mapping[int, str], *statuses: int) -> Responses:
    """The errors that a route answers with, as RFC 9457 wants them."""
    return _responses(meanings, statuses, "application/problem+json", PROBLEM_SCHEMA)


def openai_errors(meanings: Mapping[int, str], *statuses: int) -> Responses:
    """The errors that a route under /v1 answers with, in OpenAI's form."""
    return _responses(meanings, statuses, "application/json", ERROR_SCHEMA)


def complete(app: FastAPI, change: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    """Completes an application's OpenAPI document, when it is first asked for: with how
    keys are sent, without the 422 that FastAPI assumes, and with what `change` makes of
    it.
    """

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            found = get_openapi(
                title=app.title, version=app.version, description=app.description, routes=app.routes
            )
            found.setdefault("components", {})["securitySchemes"] = {
                "key": {"type": "http", "scheme": "bearer", "bearerFormat": "tsn_<id>_<secret>"}
            }
            for operations in found["paths"].values():
                for operation in operations.values():
                    _drop_validation_error(operation)
            app.openapi_schema = change(found)
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]


def _responses(
    meanings: Mapping[int, str], statuses: tuple[int, ...], media_type: str, schema: Mapping[str, Any]
) -> Responses:
    content = {media_type: {"schema": schema}}
    return {status: {"description": meanings[status], "content": content} for status in statuses}


def _drop_validation_error(operation: dict[str, Any]) -> None:
    """Takes out the 422 that FastAPI assumes: what is wrong with a request is 400 here. A
    422 that the route names stays.
    """
    if "HTTPValidationError" in str(operation["responses"].get("422")):
        del operation["responses"]["422"]
