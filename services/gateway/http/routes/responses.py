"""POST /v1/responses."""

from collections.abc import Sequence
from typing import Any

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from schemas.control import Scope
from schemas.inference import Delivered, InferenceRequested
from services.common.control.principal import Principal
from services.common.http.problems import ProblemError, malformed
from services.common.http.request_body import ignored_fields, read_json
from services.common.http.responses import json_response
from services.common.process.telemetry import span
from services.gateway.handlers import Serving, steps
from services.gateway.http.authentication import authenticated
from services.gateway.http.event_stream import EventStream, ResponseBlocks
from services.gateway.http.idempotency import once
from services.gateway.http.openapi import GENERATING, IDEMPOTENCY_KEY, body_of, errors, streamed_or_whole
from services.gateway.http.raw_route import RawRoute
from services.gateway.http.request_input import Answering, Call, bind_answer, resume_window_s, traceparent_of
from services.gateway.openai.responses.body import ResponsesBody
from services.gateway.openai.responses.items import Item
from services.gateway.openai.responses.references import referenced_item, referenced_request
from services.gateway.openai.responses.translation import chat_body_of, in_the_clients_words
from services.gateway.openai.responses.writer import ResponseWriter

_MOST_ANSWERS = 32
"""So many earlier answers' items one input may refer to: each is looked up in the log."""


def responses_router(serving: Serving) -> APIRouter:
    """OpenAI's newer way to generate."""
    router = APIRouter(prefix="/v1", tags=["OpenAI-compatible"], route_class=RawRoute)

    @router.post(
        "/responses",
        openapi_extra=body_of(ResponsesBody) | IDEMPOTENCY_KEY,
        responses=streamed_or_whole() | errors(*GENERATING),
    )
    async def responses(request: Request) -> Response:
        """Answer an input. Nothing is stored, whatever `store` says: an item of an answer
        can be referred to for 15 minutes.
        """
        return await _respond(serving, request)

    return router


async def _respond(serving: Serving, request: Request) -> Response:
    caller = authenticated(serving, request, Scope.INFER)
    window_s = resume_window_s(request, serving.settings.max_resume_window_s)
    body = await read_json(request, ResponsesBody, serving.settings)
    chat = chat_body_of(body, await _resolved(serving, caller, body.input))
    with span("gateway.responses", traceparent_of(request)) as traceparent:

        def make() -> list[InferenceRequested]:
            return serving.requests.chat(caller, chat, stream=bool(body.stream))

        try:
            answering = await once(serving, Call(request, caller, body, make, traceparent, window_s))
        except ProblemError as error:
            raise in_the_clients_words(error) from error
        [reply_stream] = answering.reply_streams
        bind_answer(request, reply_stream, stream=bool(body.stream))
        writer = ResponseWriter(reply_stream.request, body)
        if not body.stream:
            return await _whole(serving, request, answering, writer, ignored_fields(body))
        return EventStream(
            reply_stream,
            serving.registry,
            ResponseBlocks(writer),
            window_s=answering.window_s,
            keep_alive_s=serving.settings.keep_alive_s,
            began=serving.monotonic(),
            headers=ignored_fields(body),
        )


async def _whole(
    serving: Serving,
    request: Request,
    answering: Answering,
    writer: ResponseWriter,
    headers: dict[str, str] | None,
) -> Response:
    [reply_stream] = answering.reply_streams
    try:
        with answering.whole(serving.registry, request.receive):
            events = [
                event
                async for pieces, end in steps(serving, reply_stream)
                for event in writer.events(pieces, end)
            ]
    except ProblemError as error:
        raise in_the_clients_words(error) from error
    return json_response(events[-1]["response"], headers=headers)


async def _resolved(serving: Serving, caller: Principal, given: str | Sequence[Item]) -> str | Sequence[Item]:
    """The input with each reference to an item replaced by the item.

    Raises:
        ProblemError: 400, it refers to what is not known, or no more; 429 and 503, the
            log cannot be read now.
    """
    if isinstance(given, str) or not any(item.get("type") == "item_reference" for item in given):
        return given
    answers: dict[str, Sequence[Delivered]] = {}
    resolved: list[Any] = []
    for place, item in enumerate(given):
        if item.get("type") != "item_reference":
            resolved.append(item)
            continue
        request_id = referenced_request(item)
        if request_id is not None and request_id not in answers:
            if len(answers) >= _MOST_ANSWERS:
                raise malformed(f"input refers to items of more than {_MOST_ANSWERS} answers.", "input")
            answers[request_id] = await serving.reattacher.delivered(request_id, caller)
        found = referenced_item(item, answers[request_id]) if request_id else None
        if found is None:
            raise malformed(
                f"input[{place}] refers to item {str(item.get('id'))[:80]!r}, which is not known here. Items "
                "can be referred to for 15 minutes after their response; send the item itself (clients do "
                "with store: false).",
                "input",
            )
        resolved.append(found)
    return resolved
