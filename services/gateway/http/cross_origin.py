"""Browsers' pages of other origins: let in under /v1 where the operator names them."""

from collections.abc import Sequence

from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp, Receive, Scope, Send

_READABLE = (
    "x-request-id",
    "x-risk",
    "x-ignored-fields",
    "openai-processing-ms",
    "retry-after",
    "retry-after-ms",
    "x-should-retry",
)
_PREFLIGHT_S = 600


class CrossOrigin:
    """ASGI: answers preflights and marks answers under /v1 for these origins.

    Credentials are API keys in a header, never cookies.
    """

    def __init__(self, app: ASGIApp, origins: Sequence[str]) -> None:
        self._app = app
        self._open = CORSMiddleware(
            app,
            allow_origins=origins,
            allow_methods=["GET", "HEAD", "POST", "DELETE"],
            allow_headers=["*"],
            expose_headers=_READABLE,
            max_age=_PREFLIGHT_S,
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves one request."""
        app = self._open if scope.get("path", "").startswith("/v1/") else self._app
        await app(scope, receive, send)
