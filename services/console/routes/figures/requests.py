"""/api/requests: a list of requests, and one request's life."""

from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends
from pydantic import BaseModel, Field
from starlette.requests import Request
from starlette.responses import Response

from schemas.control import Scope
from services.common.clock import Clock
from services.common.store.reading import ViewReader
from services.console.administration.authorisation import not_found, tenant_asked
from services.console.administration.kinds import PRIVATE
from services.console.administration.query import names_of, read_query
from services.console.domain.exporting.catalogue import EXPORTED, Reach, hidden_from, reach_of
from services.console.domain.exporting.filters import MOST_FILTERS
from services.console.identity.callers import Caller, Callers
from services.console.routes.documentation import path_of, problems, query_of
from services.console.routes.figures.lists import ListParameters, ViewList
from services.console.routes.figures.tagged import ANSWERS, answer

VIEW = "v_requests"
_TYPES = {
    "completed_at": "DateTime64(3, 'UTC')",
    "requested_at": "DateTime64(3, 'UTC')",
    **dict.fromkeys(("tenant", "model", "request_id"), "String"),
    **dict.fromkeys(("key_id", "user"), "Nullable(String)"),
    **dict.fromkeys(("kind", "lane"), "String"),
    "stream": "Bool",
    "outcome": "String",
    "error_code": "Nullable(String)",
    "attempts": "UInt16",
    "replica_id": "Nullable(String)",
    **dict.fromkeys(("prompt_tokens", "cached_tokens", "completion_tokens"), "UInt32"),
    "cost_usd": "Nullable(Decimal(18, 12))",
    "duration_ms": "Float64",
    **dict.fromkeys(("queue_ms", "ttft_ms", "tokens_per_s"), "Nullable(Float64)"),
    "risk_level": "Nullable(String)",
}
"""The columns of a list, in order, as ClickHouse's types say how to compare them."""
_EVENTS = (
    "SELECT at, event, detail, value, unit FROM v_request_events WHERE request_id = {request_id:String} "
    "AND tenant = {tenant:String} AND NOT has({hidden:Array(String)}, event) ORDER BY at IS NULL, at, step "
    "LIMIT 500"
)
_ONE = (
    "SELECT * FROM v_requests WHERE request_id = {request_id:String} "
    "AND ({tenant:String} = '' OR tenant = {tenant:String}) ORDER BY completed_at DESC LIMIT 1"
)
"""Of one tenant, or (empty) of all: the engine's row policy says so too."""
_FINDINGS = "['finding', 'finding_judged']"
"""Events for administrators only."""


class RequestsParameters(ListParameters):
    """Which requests."""

    model: str = Field("", min_length=1, max_length=200, description="Of this model only.")
    user: str = Field("", min_length=1, max_length=200, description="Of this user only, a pseudonym.")
    key: str = Field("", min_length=1, max_length=200, description="Of this key only, by its id.")
    outcome: str = Field("", min_length=1, max_length=40, description="Such as failed.")
    filter: list[str] = Field(
        [],
        max_length=MOST_FILTERS,
        description="A column, one of = != < <= > >=, a value: `duration_ms>=5000`. May come several times.",
    )
    order: Literal["newest", "slowest"] = Field(
        "newest", description="`slowest` is one page, without a cursor."
    )


class RequestRow(BaseModel):
    """A request that ended, without its texts."""

    completed_at: datetime
    requested_at: datetime
    tenant: str
    model: str
    request_id: str
    key_id: str | None
    user: str | None = Field(description="A pseudonym.")
    kind: str
    lane: str
    stream: bool
    outcome: str
    error_code: str | None
    attempts: int
    replica_id: str | None
    prompt_tokens: int
    cached_tokens: int
    completion_tokens: int
    cost_usd: str | None
    duration_ms: float
    queue_ms: float | None
    ttft_ms: float | None
    tokens_per_s: float | None
    risk_level: str | None


class RequestsAnswer(BaseModel):
    """A page."""

    data: list[RequestRow]
    next_cursor: str | None


class RequestEvent(BaseModel):
    """Something that happened to a request."""

    at: datetime | None = Field(description="Null where only is known that it did.")
    event: str
    detail: str | None
    value: float | None
    unit: str


class RequestLife(BaseModel):
    """A request's row, with the masked texts for administrators, and its life."""

    request: dict[str, Any]
    events: list[RequestEvent]


_NAMES = names_of(RequestsParameters)


@dataclass(frozen=True)
class _Routes:
    reader: ViewReader
    clock: Clock

    async def list(self, request: Request, caller: Caller) -> Response:
        asked = read_query(request, RequestsParameters, _NAMES, repeated=("filter",))
        tenant = tenant_asked(caller.principal, asked.tenant)
        named = {"model": asked.model, "user": asked.user, "key_id": asked.key, "outcome": asked.outcome}
        filters = [*(f"{name}={one}" for name, one in named.items() if one), *asked.filter]
        listed = ViewList(self.reader, VIEW, _TYPES)
        slowest_by = "duration_ms" if asked.order == "slowest" else ""
        found = await listed.page(asked, filters, tenant, self.clock(), slowest_by)
        return answer(request, found, found["data"])

    async def tell(self, request: Request, caller: Caller) -> Response:
        principal, request_id = caller.principal, str(request.path_params["request_id"])
        tenant = "" if principal.is_platform_admin else caller.tenant
        rows = await self.reader.rows(_ONE, {"request_id": request_id, "tenant": tenant}, tenant=tenant)
        if not rows:
            raise not_found(
                f"nothing is stored of a request {request_id!r}; its record comes a moment after its end"
            )
        reach = reach_of(principal)
        hidden = hidden_from(EXPORTED[VIEW], reach)
        told = {name: value for name, value in rows[0].items() if name not in hidden}
        given = {
            "request_id": request_id,
            "tenant": str(rows[0]["tenant"]),
            "hidden": _FINDINGS if reach is Reach.READER else "[]",
        }
        events = await self.reader.rows(_EVENTS, given, tenant=tenant)
        return answer(request, {"request": told, "events": events}, events, PRIVATE)


def requests_router(callers: Callers, reader: ViewReader, clock: Clock) -> APIRouter:
    """Requests that ended."""
    router = APIRouter(prefix="/api/requests", tags=["Requests"])
    routes = _Routes(reader, clock)

    def may_read(request: Request) -> Caller:
        return callers.caller(request, Scope.READ)

    @router.get(
        "",
        response_model=RequestsAnswer,
        responses=problems(400, 401, 403, 429, 503) | ANSWERS,
        openapi_extra=query_of(RequestsParameters, _NAMES),
    )
    async def list_(request: Request, caller: Annotated[Caller, Depends(may_read)]) -> Response:
        """List requests of the caller's tenant that ended, the newest or the slowest first."""
        return await routes.list(request, caller)

    @router.get(
        "/{request_id}",
        response_model=RequestLife,
        responses=problems(401, 403, 404, 429, 503) | ANSWERS,
        openapi_extra=path_of("{request_id}"),
    )
    async def tell(request: Request, caller: Annotated[Caller, Depends(may_read)]) -> Response:
        """Tell everything that is stored of one request, in order of time."""
        return await routes.tell(request, caller)

    return router
