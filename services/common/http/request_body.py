"""A request's body: whole, bounded, as a model."""

import asyncio
import codecs
import re
from typing import Protocol, TypeVar
from urllib.parse import quote

from pydantic import BaseModel, ValidationError
from starlette.requests import ClientDisconnect, Request
from starlette.types import Scope

from services.common.http.content_encoding import decode
from services.common.http.problems import CLIENT_LEFT, ProblemError, body_too_slow, too_large
from services.common.http.validation import not_utf8, problem_of, refuse_constants

Body = TypeVar("Body", bound=BaseModel)

_DISCARD_BYTES = 64 * 1024 * 1024
_MAX_NAMES = 16
_CHARSET = re.compile(r"""charset\s{0,4}=\s{0,4}["']?([^\s"';,]{1,40})""", re.IGNORECASE)
_UTF8 = frozenset({"utf-8", "utf8", "utf_8", "us-ascii", "ascii"})
"""Python's own table of names keeps every unknown one that it is asked for."""
_MAX_NAME_CHARS = 32


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


async def read_json(
    request: Request, kind: type[Body], limits: BodyLimits, *, empty: Body | None = None
) -> Body:
    """The body as a model; `empty` where there is none, if that is allowed.

    Raises:
        ProblemError: 413, it is too large; 415, its Content-Encoding is not served;
            408, it came too slowly; 400, it is not JSON in UTF-8 or not what is wanted:
            `param` names the field.
    """
    encoding = _content_encoding(request.scope)
    body = await read_body(request, limits.max_body_bytes, limits.body_timeout_s)
    if not body and empty is not None:
        return empty
    if encoding:
        body = decode(body, encoding, limits.max_body_bytes)
    return parse_json(body, kind)


def parse_json(body: bytes, kind: type[Body]) -> Body:
    """Bytes as a model; a byte order mark is passed over.

    Raises:
        ProblemError: 400, as `read_json`.
    """
    body = body.removeprefix(codecs.BOM_UTF8)
    try:
        found = kind.model_validate_json(body)
    except ValidationError as error:
        raise problem_of(error, body, kind) from error
    refuse_constants(body)
    return found


def ignored_fields(body: BaseModel) -> dict[str, str] | None:
    """The header that tells a client which top-level fields nobody here knows, a typo
    perhaps; None where there are none.

    The client chose these names: they come back percent-encoded and few.
    """
    if not body.model_extra:
        return None
    names = [
        quote(name[:_MAX_NAME_CHARS].encode(errors="replace"), safe="") or "%22%22"
        for name in body.model_extra
    ]
    more = [f"+{len(names) - _MAX_NAMES}"] if len(names) > _MAX_NAMES else []
    return {"x-ignored-fields": ", ".join(names[:_MAX_NAMES] + more)}


def _content_encoding(scope: Scope) -> str:
    """The Content-Encoding, empty where there is none.

    One pass over the raw headers: nearly every request has neither this nor a charset.

    Raises:
        ProblemError: 400, the charset is not UTF-8.
    """
    encodings = []
    for name, value in scope["headers"]:
        if name == b"content-encoding":
            encodings.append(value.decode("latin-1"))
        elif name == b"content-type" and b"charset" in value.lower():
            _require_utf8(value.decode("latin-1"))
    return ",".join(encodings)


def _require_utf8(content_type: str) -> None:
    found = _CHARSET.search(content_type)
    if found and found[1].lower() not in _UTF8:
        raise not_utf8(f"The charset is {found[1]!r}")
