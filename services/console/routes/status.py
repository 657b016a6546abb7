"""/api/status: is everything there, is it behind, is anything lost."""

from datetime import datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends
from pydantic import BaseModel, Field
from starlette.requests import Request
from starlette.responses import Response

from schemas.control import Scope
from services.common.http.responses import json_response
from services.console.identity.callers import Caller, Callers
from services.console.read_models.cached_read import ReadState
from services.console.read_models.status import PlatformStatus
from services.console.routes.documentation import problems


class StatusPart(BaseModel):
    """One part: what was found, or why nothing was."""

    state: ReadState
    checked_at: datetime
    took_ms: float
    data: Any = Field(description="null where the state is not ok.")


class Status(BaseModel):
    """The parts: bus, store, processes (replicas and dispatchers), services (by their
    /ready), consumers (lag by group and topic), ledger (gaps and doubles by topic).

    `degraded` where a part cannot be read, a service is not ready, or the ledger shows
    a gap or a double.
    """

    state: Literal["ok", "degraded"]
    parts: dict[str, StatusPart]


def status_router(callers: Callers, platform: PlatformStatus) -> APIRouter:
    """The platform's state."""
    router = APIRouter(prefix="/api", tags=["Status"])

    def reader(request: Request) -> Caller:
        return callers.caller(request, Scope.READ)

    @router.get("/status", response_model=Status, responses=problems(401, 403, 429, 503))
    async def status(caller: Annotated[Caller, Depends(reader)]) -> Response:
        """Tell the platform's state, part by part; hosts and process ids only to
        administrators of the platform.
        """
        body = await platform.read(with_places=caller.principal.is_platform_admin)
        return json_response(body, headers={"cache-control": "no-store"})

    return router
