"""POST /generate: a conversation's answer without OpenAI's ceremony."""

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from schemas.control import Scope
from schemas.inference import InferenceRequested
from services.common.http.request_body import ignored_fields, read_json
from services.common.http.responses import json_response
from services.common.process.telemetry import span
from services.gateway.handlers import Serving, gather
from services.gateway.http.authentication import authenticated
from services.gateway.http.idempotency import once
from services.gateway.http.openapi import GENERATING, IDEMPOTENCY_KEY, body_of, problems, whole
from services.gateway.http.request_input import Call, bind_answer, traceparent_of
from services.gateway.openai.requests import ChatBody, GenerateBody


def platform_router(serving: Serving) -> APIRouter:
    """The platform's own way to generate."""
    router = APIRouter(tags=["Platform"])

    @router.post(
        "/generate",
        openapi_extra=body_of(GenerateBody) | IDEMPOTENCY_KEY,
        responses=whole() | problems(*GENERATING),
    )
    async def generate(request: Request) -> Response:
        """Answer a conversation; `latency` is in seconds."""
        began = serving.monotonic()
        caller = authenticated(serving, request, Scope.INFER)
        given = await read_json(request, GenerateBody, serving.settings)
        body = ChatBody(
            model=given.model_name,
            messages=given.messages,
            max_tokens=given.max_tokens,
            temperature=given.temperature,
        )
        with span("gateway.generate", traceparent_of(request)) as traceparent:

            def make() -> list[InferenceRequested]:
                return serving.requests.chat(caller, body, stream=False)

            answering = await once(serving, Call(request, caller, given, make, traceparent))
            [reply_stream] = answering.reply_streams
            asked = reply_stream.request
            bind_answer(request, reply_stream, stream=False)
            with answering.whole(serving.registry, request.receive):
                answer, whole_body = await gather(serving, reply_stream)
        latency_s = round(serving.monotonic() - began, 4)
        return json_response(
            {
                "result": answer.text,
                "latency": latency_s,
                "model": asked.model,
                "usage": whole_body["usage"],
                "request_id": asked.request_id,
            },
            headers=ignored_fields(given),
        )

    return router
