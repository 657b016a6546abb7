"""POST /v1/feedback, which the gateway passes on."""

from fastapi import APIRouter
from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import Response

from schemas.control import Scope
from services.common.http.request_body import BodyLimits, read_json
from services.common.http.responses import json_response
from services.common.requests.feedback import FeedbackBody
from services.console.feedback.service import FeedbackService
from services.console.identity.callers import Callers
from services.console.routes.documentation import body_of, openai_errors


class FeedbackTaken(BaseModel):
    """A rating that the bus has."""

    id: str
    object: str = "feedback"
    request_id: str
    rating: int


def feedback_router(callers: Callers, service: FeedbackService, limits: BodyLimits) -> APIRouter:
    """Ratings."""
    router = APIRouter(prefix="/v1", tags=["Feedback"])

    @router.post(
        "/feedback",
        status_code=201,
        response_model=FeedbackTaken,
        openapi_extra=body_of(FeedbackBody),
        responses=openai_errors(400, 401, 403, 404, 408, 413, 415, 429, 503),
    )
    async def feedback(request: Request) -> Response:
        """Rate an answer; of several ratings of a user for it the last counts."""
        caller = callers.caller(request, Scope.FEEDBACK)
        taken = await service.submit(caller.principal, await read_json(request, FeedbackBody, limits))
        body = FeedbackTaken(id=taken.feedback_id, request_id=taken.request_id, rating=taken.rating)
        return json_response(body.model_dump(), 201)

    return router
