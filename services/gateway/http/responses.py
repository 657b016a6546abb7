"""Who calls, and routes without the framework's layers."""

from collections.abc import Callable, Coroutine
from typing import Any

from fastapi.routing import APIRoute
from starlette.requests import Request
from starlette.responses import Response

from schemas.control import KeyChanged, Scope
from services.common.http.access_log import bind_log_fields
from services.gateway.handlers import Serving


class RawRoute(APIRoute):
    """A route whose endpoint takes the request and returns the response: nothing is
    resolved or validated in between.
    """

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """The endpoint itself."""
        handler: Callable[[Request], Coroutine[Any, Any, Response]] = self.endpoint
        return handler


def caller(serving: Serving, request: Request, scope: Scope) -> KeyChanged:
    """The key that a request carries, if it is good for `scope`.

    Raises:
        ProblemError: 401, 403 or 503.
    """
    key = serving.keys.authenticate(request.headers.get("authorization"), scope, now=serving.clock())
    bind_log_fields(request.scope, tenant=key.tenant, key_id=key.key_id)
    return key
