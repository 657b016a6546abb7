"""The outermost layer: ids, and no exception gets past it."""

from typing import Any

import orjson
import pytest
import structlog
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from services.common.http.access_log import AccessLogMiddleware, bind_log_fields
from services.common.http.responses import crash_response
from services.common.process import metrics


async def serve(app: Any, path: str = "/v1/x") -> list[Message]:
    """What an application sends for one request through the edge."""
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    async def receive() -> Message:
        return {"type": "http.request", "body": b"", "more_body": False}

    await AccessLogMiddleware(
        app, crash_response, requests=metrics.GATEWAY_REQUESTS, seconds=metrics.GATEWAY_SECONDS
    )({"type": "http", "method": "GET", "path": path, "headers": []}, receive, send)
    return sent


@pytest.mark.parametrize(("path", "field"), [("/v1/x", "error"), ("/generate", "detail")])
async def test_crash_before_the_answer_is_500_in_the_paths_form(path: str, field: str) -> None:
    """A failure that nobody foresaw is answered like any other, with an id to look it
    up by.
    """

    async def app(_scope: Scope, _receive: Receive, _send: Send) -> None:
        raise RuntimeError("a bug")

    start, body = await serve(app, path)
    assert start["status"] == 500
    assert dict(start["headers"])[b"x-request-id"].startswith(b"req-")
    assert field in orjson.loads(body["body"])
    assert b"a bug" not in body["body"]


async def test_crash_in_mid_answer_sends_nothing_more() -> None:
    """An answer that has begun cannot be changed; the server cuts it."""

    async def app(_scope: Scope, _receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        raise RuntimeError("a bug")

    assert [message["type"] for message in await serve(app)] == ["http.response.start"]


async def test_noted_request_id_is_the_answers() -> None:
    """A completion's own id is its x-request-id."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        bind_log_fields(scope, request_id="chatcmpl-1")
        await Response(b"{}")(scope, receive, send)

    headers = dict((await serve(app))[0]["headers"])
    assert headers[b"x-request-id"] == b"chatcmpl-1"
    assert int(headers[b"openai-processing-ms"]) >= 0


@pytest.mark.parametrize(
    ("status", "told", "level"),
    [
        (200, {"logged_by": "console"}, "debug"),
        (404, {"logged_by": "console"}, "debug"),
        (502, {"logged_by": "console"}, "info"),
        (200, {}, "info"),
        (503, {}, "info"),
    ],
)
async def test_request_that_another_logs_has_one_line(status: int, told: dict[str, str], level: str) -> None:
    """The gateway's is for debugging, unless what was passed on failed."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        bind_log_fields(scope, request_id="req-1", **told)
        await Response(b"{}", status)(scope, receive, send)

    with structlog.testing.capture_logs() as lines:
        await serve(app)
    assert [(one["event"], one["log_level"], one["status"]) for one in lines] == [
        ("request_served", level, status)
    ]
