"""How to answer, above all when something goes wrong."""

from collections.abc import AsyncGenerator, AsyncIterable
from contextlib import aclosing
from typing import Any

import orjson
import structlog
from fastapi import FastAPI
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from schemas.errors import ErrorCode
from services.common.errors import StoreUnavailableError
from services.common.http.access_log import bind_log_fields
from services.common.http.problems import Problem, ProblemError, retry_after, unavailable

log = structlog.get_logger(__name__)

_NOSNIFF = {"x-content-type-options": "nosniff"}
_FOR_NOW = frozenset({429, 503})
_CODES = {404: ErrorCode.NOT_FOUND, 405: ErrorCode.METHOD_NOT_ALLOWED}
_MESSAGES = {
    404: "There is nothing at {path}; {docs} lists what there is.",
    405: "{path} does not take {method}; {docs} lists what it takes.",
}


class ClosingResponse(StreamingResponse):
    """Streams a body that is made of `source`, which is closed whatever ends the answer:
    also a client that leaves before the first piece.
    """

    def __init__(
        self,
        source: AsyncGenerator[Any],
        body: AsyncIterable[bytes],
        headers: dict[str, str],
        media_type: str,
    ) -> None:
        super().__init__(body, headers=headers, media_type=media_type)
        self.source = source

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers."""
        async with aclosing(self.source):
            await super().__call__(scope, receive, send)


def json_response(body: object, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """A body as JSON, which no browser takes for anything else."""
    return Response(orjson.dumps(body), status, _NOSNIFF | (headers or {}), "application/json")


def problem_response(problem: Problem, path: str) -> Response:
    """A problem in the form that clients of this path expect. Whoever is refused for now
    is told when to come back: in a second, where the problem names no time.
    """
    headers = dict(problem.headers)
    if problem.status in _FOR_NOW and not headers.keys() & {"retry-after", "x-should-retry"}:
        headers |= dict(retry_after(1))
    if path.startswith("/v1/"):
        return json_response(problem.openai_body(), problem.status, headers)
    body, headers = orjson.dumps(problem.problem_body()), _NOSNIFF | headers
    return Response(body, problem.status, headers, "application/problem+json")


def crash_response(path: str) -> Response:
    """What a client sees of a failure that nobody foresaw."""
    return problem_response(
        Problem(500, ErrorCode.INTERNAL_ERROR, "The service failed at this request; its log says why."), path
    )


async def on_problem(request: Request, error: Exception) -> Response:
    """Answers with the problem that an endpoint raised."""
    assert isinstance(error, ProblemError)  # noqa: S101  registered for nothing else
    bind_log_fields(request.scope, code=error.problem.code)
    if error.request_id:
        bind_log_fields(request.scope, request_id=error.request_id)
    return problem_response(error.problem, request.url.path)


async def on_store_away(request: Request, error: Exception) -> Response:
    """Answers with 503 where an endpoint needs the store and it is away."""
    log.warning("store_away", path=request.url.path, error=str(error))
    return await on_problem(
        request,
        unavailable("The store is away. Try again.", code=ErrorCode.STORE_UNAVAILABLE, retry_after_s=2),
    )


async def on_http(request: Request, error: Exception) -> Response:
    """Answers where the framework itself refuses: no such path, no such method."""
    assert isinstance(error, HTTPException)  # noqa: S101  registered for nothing else
    text = _MESSAGES.get(error.status_code, str(error.detail)).format(
        path=request.url.path,
        method=request.method,
        docs="/api/docs" if f"{request.url.path}/".startswith("/api/") else "/docs",
    )
    headers = tuple((error.headers or {}).items())
    return problem_response(
        Problem(
            error.status_code, _CODES.get(error.status_code, ErrorCode.HTTP_ERROR), text, headers=headers
        ),
        request.url.path,
    )


def answer_problems(app: FastAPI) -> None:
    """Makes an application answer every failure in the form that its clients expect."""

    async def on_crash(request: Request, _error: Exception) -> Response:
        return crash_response(request.url.path)

    app.add_exception_handler(ProblemError, on_problem)
    app.add_exception_handler(StoreUnavailableError, on_store_away)
    app.add_exception_handler(HTTPException, on_http)
    app.add_exception_handler(Exception, on_crash)
