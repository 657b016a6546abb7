"""/api/admin/budgets/{budget_id}/spend: how a budget stands."""

from datetime import datetime

from fastapi import APIRouter
from pydantic import BaseModel, Field
from starlette.requests import Request
from starlette.responses import Response

from schemas.control import BudgetChanged, Subject
from services.common.http.responses import json_response
from services.console.administration.administrators import Administrators
from services.console.administration.entry_service import EntryService
from services.console.administration.kinds import KINDS, PRIVATE
from services.console.read_models.budgets import BudgetSpend
from services.console.routes.documentation import path_of, problems

_BUDGET = next(kind for kind in KINDS if kind.name == "budget")


class BudgetStatus(BaseModel):
    """A budget and what was spent of it in its present period. Dollars are decimal
    strings.
    """

    budget_id: str
    tenant: str
    subject: Subject
    period: str
    time_zone: str
    hard: bool
    limit_usd: str
    spent_usd: str | None = Field(
        description="Of requests that have ended; null where it cannot, or may not, be told."
    )
    left_usd: str | None
    share: float | None = Field(description="Of the limit; 1 is all of it.")
    period_start: datetime | None
    renews_at: datetime | None


def budget_spend_router(admins: Administrators, entries: EntryService, spend: BudgetSpend) -> APIRouter:
    """What was spent."""
    router = APIRouter(prefix="/api/admin", tags=["Administration"])

    @router.get(
        "/budgets/{budget_id}/spend",
        response_model=BudgetStatus,
        responses=problems(400, 401, 403, 404, 429, 503),
        openapi_extra=path_of("{budget_id}"),
    )
    async def show(request: Request) -> Response:
        """Tell what was spent of a budget in its present period."""
        budget = entries.get(admins.principal(request), _BUDGET, request.path_params["budget_id"])
        assert isinstance(budget, BudgetChanged)  # noqa: S101  of its kind
        (found,) = await spend.read([budget])
        return json_response(found, headers=PRIVATE)

    return router
