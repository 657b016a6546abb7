"""POST /v1/chat/completions, /v1/completions and /v1/completions/stream."""

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from schemas.control import Scope
from services.common.telemetry import span
from services.gateway.domain.bodies import ChatBody, CompletionBody
from services.gateway.edge import note
from services.gateway.event_stream import EventStream
from services.gateway.follower import Follower
from services.gateway.handlers import Serving, ask_chat, ask_completion, gather
from services.gateway.http_input import read_json, resume_window_s, traceparent_of, watched_for_leaving
from services.gateway.routes.access import RawRoute, caller, json_response
from services.gateway.routes.documents import body_of, errors, streamed_or_whole

_WATCH_AFTER_S = 0.25
"""Whole answers mostly come sooner; a client that leaves in that time is noticed at the
latest when the answer is written.
"""


def completions_router(serving: Serving) -> APIRouter:
    """The routes that generate."""
    router = APIRouter(prefix="/v1", tags=["OpenAI-compatible"], route_class=RawRoute)

    @router.post(
        "/chat/completions",
        openapi_extra=body_of(ChatBody),
        responses=streamed_or_whole() | errors(400, 401, 403, 404, 413, 503, 504),
    )
    async def chat_completions(request: Request) -> Response:
        """Continue a conversation."""
        return await _chat(serving, request)

    @router.post(
        "/completions",
        openapi_extra=body_of(CompletionBody),
        responses=streamed_or_whole() | errors(400, 401, 403, 404, 413, 503, 504),
    )
    async def completions(request: Request) -> Response:
        """Continue a text."""
        return await _completion(serving, request, always_stream=False)

    @router.post(
        "/completions/stream",
        openapi_extra=body_of(CompletionBody),
        responses=streamed_or_whole() | errors(400, 401, 403, 404, 413, 503, 504),
    )
    async def completions_stream(request: Request) -> Response:
        """Continue a text, always as a stream."""
        return await _completion(serving, request, always_stream=True)

    return router


async def answer(
    serving: Serving, request: Request, follower: Follower, *, stream: bool, window_s: float
) -> Response:
    """Serves a follower's request as a stream or in one piece."""
    note(request.scope, request_id=follower.request.request_id, model=follower.request.model, stream=stream)
    if stream:
        began = serving.monotonic()
        return EventStream(
            follower,
            serving.keeper,
            window_s=window_s,
            keep_alive_s=serving.settings.keep_alive_s,
            began=began,
        )
    try:
        with watched_for_leaving(request.receive, follower, after_s=_WATCH_AFTER_S):
            _, body = await gather(serving, follower)
    finally:
        serving.keeper.release(follower, window_s=window_s)
    return json_response(body)


async def _chat(serving: Serving, request: Request) -> Response:
    key = caller(serving, request, Scope.INFER)
    window_s = resume_window_s(request, serving.settings.max_resume_window_s)
    body = await read_json(request, ChatBody, serving.settings.max_body_bytes)
    stream = bool(body.stream)
    with span("gateway.chat", traceparent_of(request)) as traceparent:
        follower = await ask_chat(serving, key, body, stream=stream, traceparent=traceparent)
        return await answer(serving, request, follower, stream=stream, window_s=window_s)


async def _completion(serving: Serving, request: Request, *, always_stream: bool) -> Response:
    key = caller(serving, request, Scope.INFER)
    window_s = resume_window_s(request, serving.settings.max_resume_window_s)
    body = await read_json(request, CompletionBody, serving.settings.max_body_bytes)
    stream = always_stream or bool(body.stream)
    with span("gateway.completion", traceparent_of(request)) as traceparent:
        follower = await ask_completion(serving, key, body, stream=stream, traceparent=traceparent)
        return await answer(serving, request, follower, stream=stream, window_s=window_s)
