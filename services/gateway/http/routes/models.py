"""GET /v1/models and /v1/models/{id}."""

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from schemas.control import Scope
from services.common.http.responses import json_response
from services.gateway.handlers import Serving
from services.gateway.http.authentication import authenticated
from services.gateway.http.openapi import errors


def models_router(serving: Serving) -> APIRouter:
    """What there is to choose from."""
    router = APIRouter(prefix="/v1", tags=["OpenAI-compatible"])

    @router.head("/models", include_in_schema=False)
    @router.get("/models", responses=errors(401, 403, 429, 503))
    async def models(request: Request) -> Response:
        """The models that this key may use."""
        caller = authenticated(serving, request, Scope.INFER)
        return json_response(
            {
                "object": "list",
                "data": [serving.catalogue.describe(model) for model in serving.catalogue.open_to(caller)],
            }
        )

    @router.head("/models/{model_id:path}", include_in_schema=False)
    @router.get("/models/{model_id:path}", responses=errors(401, 403, 404, 429, 503))
    async def model(request: Request, model_id: str) -> Response:
        """One model, by its name or an alias."""
        caller = authenticated(serving, request, Scope.INFER)
        return json_response(serving.catalogue.describe(serving.catalogue.find(model_id, caller), model_id))

    return router
