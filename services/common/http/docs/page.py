"""/docs: the page that shows an application's OpenAPI document."""

from pathlib import Path

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, JSONResponse, Response

_ASSETS = Path(__file__).parent / "assets"
_TYPES = {"swagger-ui.css": "text/css", "swagger-ui-bundle.js": "text/javascript"}
_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Tocsin API</title>
<link rel="stylesheet" href="{prefix}/docs/swagger-ui.css"></head>
<body><div id="swagger-ui"></div>
<script src="{prefix}/docs/swagger-ui-bundle.js"></script>
<script>SwaggerUIBundle({{url: "{prefix}/openapi.json", dom_id: "#swagger-ui", deepLinking: true}})</script>
</body></html>
"""


def docs_router(prefix: str = "") -> APIRouter:
    """The page that shows the application's OpenAPI document, at `prefix`/docs; with a
    prefix the document too, for a service that others reach only below one.
    """
    router = APIRouter(prefix=prefix)

    @router.head("/docs", include_in_schema=False)
    @router.get("/docs", include_in_schema=False)
    async def docs() -> Response:
        return HTMLResponse(_PAGE.format(prefix=prefix))

    if prefix:

        @router.get("/openapi.json", include_in_schema=False)
        async def document(request: Request) -> Response:
            return JSONResponse(request.app.openapi())

    @router.head("/docs/{asset}", include_in_schema=False)
    @router.get("/docs/{asset}", include_in_schema=False)
    async def asset(asset: str) -> Response:
        if asset not in _TYPES:
            return Response(status_code=404)
        return FileResponse(_ASSETS / asset, media_type=_TYPES[asset])

    return router
