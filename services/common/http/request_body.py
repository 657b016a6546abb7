"""A request's body: whole, bounded, as a model."""

import asyncio
from typing import Any, Protocol, TypeVar

from pydantic import BaseModel, ValidationError
from starlette.requests import ClientDisconnect, Request

from schemas.errors import ErrorCode
from services.common.http.problems import CLIENT_LEFT, ProblemError, body_too_slow, malformed, too_large

Body = TypeVar("Body", bound=BaseModel)

_DISCARD_BYTES = 64 * 1024 * 1024


class BodyLimits(Protocol):
    """What a service's settings say of bodies."""

    @property
    def max_body_bytes(self) -> int:
        """Largest body, decoded."""

    @property
    def body_timeout_s(self) -> float:
        """How long one may take to come."""


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


async def read_json(request: Request, kind: type[Body], limits: BodyLimits) -> Body:
    """The body as a model.

    Raises:
        ProblemError: 413, it is too large; 408, it came too slowly; 400, it is not JSON
            or not what is wanted: `param` names the field.
    """
    body = await read_body(request, limits.max_body_bytes, limits.body_timeout_s)
    try:
        return kind.model_validate_json(body)
    except ValidationError as error:
        raise _explain(
            error.errors(include_url=False, include_context=False, include_input=False)[0]
        ) from error


def _explain(problem: Any) -> ProblemError:
    if problem["type"] == "json_invalid":
        return malformed(
            f"The body is not JSON that can be read: {problem['msg']}.", code=ErrorCode.INVALID_JSON
        )
    place = ".".join(str(part) for part in problem["loc"])
    param = str(problem["loc"][0]) if problem["loc"] else None
    code = ErrorCode.MISSING_PARAMETER if problem["type"] == "missing" else ErrorCode.INVALID_VALUE
    return malformed(f"{place or 'The body'}: {problem['msg']}.", param, code)
