"""POST /v1/feedback: passed on to the console, which knows every request that ever ended."""

from fastapi import APIRouter
from starlette.requests import Request
from starlette.types import ASGIApp

from schemas.control import Scope
from services.common.requests.feedback import FeedbackBody
from services.gateway.handlers import Serving
from services.gateway.http.authentication import authenticated
from services.gateway.http.openapi import body_of, errors
from services.gateway.http.raw_route import RawRoute


def feedback_router(serving: Serving) -> APIRouter:
    """Ratings of answers."""
    router = APIRouter(prefix="/v1", tags=["Requests"], route_class=RawRoute)

    @router.post(
        "/feedback",
        status_code=201,
        openapi_extra=body_of(FeedbackBody),
        responses=errors(400, 401, 403, 404, 408, 413, 415, 429, 503, 504),
        response_model=None,
    )
    async def feedback(request: Request) -> ASGIApp:
        """Rate an answer of one's tenant; of several ratings of a user for it the last
        counts.
        """
        caller = authenticated(serving, request, Scope.FEEDBACK)
        return serving.console.forward_of(caller.tenant)

    return router
