"""POST /v1/chat/completions, /v1/completions and /v1/completions/stream."""

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from schemas.control import Scope
from schemas.inference import InferenceRequested
from services.common.http.request_body import ignored_fields, read_json
from services.common.http.responses import json_response
from services.common.process.telemetry import span
from services.gateway.handlers import Serving, gather
from services.gateway.http.authentication import authenticated
from services.gateway.http.event_stream import ChunkBlocks, EventStream
from services.gateway.http.idempotency import once
from services.gateway.http.openapi import (
    GENERATING,
    IDEMPOTENCY_KEY,
    body_of,
    errors,
    streamed,
    streamed_or_whole,
)
from services.gateway.http.prompt_batch import answer_prompts
from services.gateway.http.raw_route import RawRoute
from services.gateway.http.request_input import Answering, Call, bind_answer, resume_window_s, traceparent_of
from services.gateway.openai.requests import ChatBody, CompletionBody


def completions_router(serving: Serving) -> APIRouter:
    """The routes that generate."""
    router = APIRouter(prefix="/v1", tags=["OpenAI-compatible"], route_class=RawRoute)

    @router.post(
        "/chat/completions",
        openapi_extra=body_of(ChatBody) | IDEMPOTENCY_KEY,
        responses=streamed_or_whole() | errors(*GENERATING),
    )
    async def chat_completions(request: Request) -> Response:
        """Continue a conversation."""
        return await _chat(serving, request)

    @router.post(
        "/completions",
        openapi_extra=body_of(CompletionBody) | IDEMPOTENCY_KEY,
        responses=streamed_or_whole() | errors(*GENERATING),
    )
    async def completions(request: Request) -> Response:
        """Continue a text."""
        return await _completion(serving, request, always_stream=False)

    @router.post(
        "/completions/stream",
        response_class=StreamingResponse,  # names no kind of its own
        openapi_extra=body_of(CompletionBody) | IDEMPOTENCY_KEY,
        responses=streamed() | errors(*GENERATING),
    )
    async def completions_stream(request: Request) -> Response:
        """Continue a text, always as a stream."""
        return await _completion(serving, request, always_stream=True)

    return router


async def answer(
    serving: Serving,
    request: Request,
    answering: Answering,
    *,
    stream: bool,
    headers: dict[str, str] | None,
) -> Response:
    """Serves a reply stream's request as a stream or in one piece."""
    [reply_stream] = answering.reply_streams
    bind_answer(request, reply_stream, stream=stream)
    if stream:
        began = serving.monotonic()
        return EventStream(
            reply_stream,
            serving.registry,
            ChunkBlocks(reply_stream.request, placed=answering.placed),
            window_s=answering.window_s,
            keep_alive_s=serving.settings.keep_alive_s,
            began=began,
            headers=headers,
        )
    with answering.whole(serving.registry, request.receive):
        _, body = await gather(serving, reply_stream)
    return json_response(body, headers=headers)


async def _chat(serving: Serving, request: Request) -> Response:
    caller = authenticated(serving, request, Scope.INFER)
    window_s = resume_window_s(request, serving.settings.max_resume_window_s)
    body = await read_json(request, ChatBody, serving.settings)
    stream = bool(body.stream)
    with span("gateway.chat", traceparent_of(request)) as traceparent:

        def make() -> list[InferenceRequested]:
            return serving.requests.chat(caller, body, stream=stream)

        answering = await once(serving, Call(request, caller, body, make, traceparent, window_s))
        return await answer(serving, request, answering, stream=stream, headers=ignored_fields(body))


async def _completion(serving: Serving, request: Request, *, always_stream: bool) -> Response:
    caller = authenticated(serving, request, Scope.INFER)
    window_s = resume_window_s(request, serving.settings.max_resume_window_s)
    body = await read_json(request, CompletionBody, serving.settings)
    stream = always_stream or bool(body.stream)
    with span("gateway.completion", traceparent_of(request)) as traceparent:

        def make() -> list[InferenceRequested]:
            return serving.requests.completions(caller, body, stream=stream)

        answering = await once(serving, Call(request, caller, body, make, traceparent, window_s))
        headers = ignored_fields(body)
        if len(body.prompts) > 1:
            return await answer_prompts(serving, request, answering, stream=stream, headers=headers)
        return await answer(serving, request, answering, stream=stream, headers=headers)
