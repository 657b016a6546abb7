"""Answers as JSON or CSV, which a client that has them already need not take again."""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from services.common.http.responses import json_response
from services.console.domain.csv_text import csv_text

ANSWERS: dict[int | str, dict[str, Any]] = {
    200: {"content": {"text/csv": {}}},
    304: {"description": "The answer is as If-None-Match has it."},
}
"""What a route that gives an `answer` documents beside its body in JSON."""
_ASKED_AGAIN = {"cache-control": "private, no-cache"}
"""A browser keeps figures, and asks whether they still hold."""


def answer(
    request: Request,
    body: Any,
    rows: Sequence[Mapping[str, Any]],
    caching: Mapping[str, str] = _ASKED_AGAIN,
) -> Response:
    """The body as JSON, or with `Accept: text/csv` its `rows`; 304 where `If-None-Match`
    has it. `caching` are headers that say whether a browser may keep it.
    """
    if "text/csv" in request.headers.get("accept", ""):
        found = Response(csv_text(rows), media_type="text/csv")
    else:
        found = json_response(body)
    tag = f'"{hashlib.sha256(found.body).hexdigest()[:32]}"'
    headers = {"etag": tag, "vary": "accept, authorization, cookie", **caching}
    if tag in (one.strip().removeprefix("W/") for one in request.headers.get("if-none-match", "").split(",")):
        return Response(status_code=304, headers=headers)
    found.headers.update(headers)
    return found
