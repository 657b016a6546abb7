"""GET /v1/streams/{request_id} and DELETE /v1/requests/{request_id}: requests that were
made before, at this gateway or another.
"""

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from schemas.control import Scope
from services.common.http.access_log import bind_answer_headers, bind_log_fields
from services.common.http.docs.openapi import header
from services.common.http.problems import malformed
from services.common.http.responses import json_response
from services.gateway.handlers import Serving, cancel
from services.gateway.http.authentication import authenticated
from services.gateway.http.event_stream import ChunkBlocks, EventStream
from services.gateway.http.openapi import errors, streamed
from services.gateway.http.request_input import resume_window_s, traceparent_of
from services.gateway.openai.chunks import EventId
from services.gateway.problems import risk_headers


def requests_router(serving: Serving) -> APIRouter:
    """What can be done about a request that was made."""
    router = APIRouter(prefix="/v1", tags=["Requests"])
    last_event_id = header(
        "Last-Event-ID",
        "The `id` of the last event that the client has; without it the stream comes from its beginning.",
    )

    @router.get(
        "/streams/{request_id}",
        response_class=StreamingResponse,  # names no kind of its own
        openapi_extra=last_event_id,
        responses=streamed() | errors(400, 401, 403, 404, 429, 503),
    )
    async def stream(request: Request, request_id: str) -> Response:
        """Reattach to a running or just finished stream, at any gateway: exactly what
        follows `Last-Event-ID`.
        """
        return await _reattach(serving, request, request_id)

    @router.head("/streams/{request_id}", include_in_schema=False)
    async def has_stream(request: Request, request_id: str) -> Response:
        """Whether there is such a stream; nobody's is taken over by the question."""
        await serving.reattacher.find(request_id, authenticated(serving, request, Scope.INFER))
        return Response(headers={"content-type": "text/event-stream"})

    @router.delete("/requests/{request_id}", status_code=202, responses=errors(401, 403, 404, 409, 429, 503))
    async def cancel_request(request: Request, request_id: str) -> Response:
        """Cancel a request."""
        caller = authenticated(serving, request, Scope.INFER)
        await cancel(serving, caller, request_id)
        return json_response({"id": request_id, "object": "request.cancellation", "cancelled": True}, 202)

    return router


async def _reattach(serving: Serving, request: Request, request_id: str) -> Response:
    caller = authenticated(serving, request, Scope.INFER)
    window_s = resume_window_s(request, serving.settings.max_resume_window_s)
    after = _last_event_id(request)
    began = serving.monotonic()
    found, origin = await serving.reattacher.find(request_id, caller)
    reply_stream = await serving.reattacher.join(
        found, origin, after=after, traceparent=traceparent_of(request)
    )
    bind_log_fields(request.scope, request_id=request_id, model=found.model, stream=True)
    bind_answer_headers(request.scope, risk_headers([found]))
    return EventStream(
        reply_stream,
        serving.registry,
        ChunkBlocks(found, after),
        window_s=window_s,
        keep_alive_s=serving.settings.keep_alive_s,
        began=began,
    )


def _last_event_id(request: Request) -> EventId | None:
    text = request.headers.get("last-event-id")
    if not text:
        return None
    event_id = EventId.parse(text)
    if event_id is None:
        raise malformed(
            f"Last-Event-ID is {text[:60]!r}; it must be the id of an event of this stream.", "last-event-id"
        )
    return event_id
