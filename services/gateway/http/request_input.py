"""What an HTTP request brings: body, credentials, wishes in headers, and the news that
the client has left.
"""

import asyncio
import contextlib
import re
from collections.abc import Iterator
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from starlette.requests import ClientDisconnect, Request
from starlette.types import Receive

from schemas.errors import ErrorCode
from services.common.telemetry import new_traceparent
from services.gateway.http.problems import CLIENT_LEFT, ProblemError, body_too_slow, malformed, too_large
from services.gateway.settings import Settings
from services.gateway.streams.reply_stream import ReplyStream

Body = TypeVar("Body", bound=BaseModel)

_TRACEPARENT = re.compile(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}", re.ASCII)
_DISCARD_BYTES = 64 * 1024 * 1024


async def read_body(request: Request, limit_bytes: int, timeout_s: float) -> bytes:
    """The whole body.

    What is beyond the limit is read and thrown away, within bounds: a client that is
    still writing when the connection closes never sees the answer.

    Raises:
        ProblemError: 413, it is larger; 408, it did not come in time.
    """
    parts: list[bytes] = []
    size = 0
    try:
        async with asyncio.timeout(timeout_s):
            async for part in request.stream():
                size += len(part)
                if size <= limit_bytes:
                    parts.append(part)
                elif size > _DISCARD_BYTES:
                    break
    except TimeoutError as error:
        raise body_too_slow(timeout_s) from error
    except ClientDisconnect as error:
        raise ProblemError(CLIENT_LEFT) from error
    if size > limit_bytes:
        raise too_large(limit_bytes, hang_up=size > _DISCARD_BYTES)
    return parts[0] if len(parts) == 1 else b"".join(parts)


async def read_json(request: Request, kind: type[Body], settings: Settings) -> Body:
    """The body as a model.

    Raises:
        ProblemError: 413, it is too large; 408, it came too slowly; 400, it is not JSON
            or not what is wanted: `param` names the field.
    """
    body = await read_body(request, settings.max_body_bytes, settings.body_timeout_s)
    try:
        return kind.model_validate_json(body)
    except ValidationError as error:
        raise _explain(
            error.errors(include_url=False, include_context=False, include_input=False)[0]
        ) from error


def resume_window_s(request: Request, longest_s: float) -> float:
    """How long a client that loses its connection may take to come back, by its
    `x-resume-window` header.

    Raises:
        ProblemError: 400, the header is no number of seconds.
    """
    text = request.headers.get("x-resume-window")
    if text is None:
        return 0.0
    try:
        window_s = float(text)
    except ValueError:
        window_s = -1.0
    if not 0 <= window_s < float("inf"):
        raise malformed(
            f"x-resume-window is {text[:40]!r}; it must be a number of seconds.", "x-resume-window"
        )
    return min(window_s, longest_s)


def traceparent_of(request: Request) -> str:
    """The caller's trace context, or a new one."""
    given = request.headers.get("traceparent", "")
    return given if _TRACEPARENT.fullmatch(given) else new_traceparent()


@contextlib.contextmanager
def watched_for_leaving(receive: Receive, reply_stream: ReplyStream, *, after_s: float) -> Iterator[None]:
    """Tells the reply stream when the client closes the connection.

    Looks only after `after_s`: most answers are there sooner.
    """
    watching: list[asyncio.Task[None]] = []
    timer = asyncio.get_running_loop().call_later(
        after_s, lambda: watching.append(asyncio.create_task(_wait_for_leaving(receive, reply_stream)))
    )
    try:
        yield
    finally:
        timer.cancel()
        for task in watching:
            task.cancel()


async def _wait_for_leaving(receive: Receive, reply_stream: ReplyStream) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    reply_stream.leave()


def _explain(problem: Any) -> ProblemError:
    if problem["type"] == "json_invalid":
        return malformed(
            f"The body is not JSON that can be read: {problem['msg']}.", code=ErrorCode.INVALID_JSON
        )
    place = ".".join(str(part) for part in problem["loc"])
    param = str(problem["loc"][0]) if problem["loc"] else None
    code = ErrorCode.MISSING_PARAMETER if problem["type"] == "missing" else ErrorCode.INVALID_VALUE
    return malformed(f"{place or 'The body'}: {problem['msg']}.", param, code)
