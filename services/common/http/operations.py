"""/health, /ready, /metrics and /docs."""

from fastapi import APIRouter
from starlette.responses import Response

from services.common.http.docs.page import docs_router
from services.common.process.health import HealthState


def operations_router(health: HealthState) -> APIRouter:
    """What an operator asks, without a key."""
    router = APIRouter(tags=["Operations"])

    def state(path: str) -> Response:
        status, content_type, body = health.answer(path) or (404, "application/json", b"{}")
        return Response(body, status, media_type=content_type)

    @router.head("/health", include_in_schema=False)
    @router.get("/health")
    async def alive() -> Response:
        """Whether the process lives."""
        return state("/health")

    @router.head("/ready", include_in_schema=False)
    @router.get(
        "/ready",
        responses={
            503: {"description": "Not ready; each dependency's state.", "content": {"application/json": {}}}
        },
    )
    async def ready() -> Response:
        """Whether the process can serve, dependency by dependency."""
        return state("/ready")

    @router.head("/metrics", include_in_schema=False)
    @router.get("/metrics", response_class=Response, responses={200: {"content": {"text/plain": {}}}})
    async def metrics() -> Response:
        """What the process counts, for Prometheus."""
        return state("/metrics")

    router.include_router(docs_router())
    return router
