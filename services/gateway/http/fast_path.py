"""The shortest way to the busiest routes: past the framework's own layers, which cost
each request some 50 µs and do nothing for these.
"""

from urllib.parse import quote

from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from services.common.http.problems import ProblemError
from services.common.http.responses import on_problem
from services.gateway.http.raw_route import RawRoute

_CONSOLE = ("/api/", "/dashboard/")
"""The console's paths: a slash at their end may mean something to it."""


class FastPath:
    """ASGI: answers `RawRoute`s itself, hands everything else to the application, in
    whose OpenAPI document they all stand.
    """

    def __init__(self, app: ASGIApp, routes: list[RawRoute]) -> None:
        self._app = app
        self._routes = {(method, route.path): route for route in routes for method in route.methods or ()}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves one request."""
        route = self._route_of(scope)
        if route is None:
            await self._app(scope, receive, send)
            return
        scope["route"] = route
        request = Request(scope, receive)
        try:
            response = await route.endpoint(request)
        except ProblemError as error:
            response = await on_problem(request, error)
        await response(scope, receive, send)

    def _route_of(self, scope: Scope) -> RawRoute | None:
        route = self._routes.get((scope.get("method", ""), scope.get("path", "")))
        if route is None and scope["type"] == "http" and _tidy(scope):
            route = self._routes.get((scope["method"], scope["path"]))
        return route


def _tidy(scope: Scope) -> bool:
    """Takes doubled slashes and one at the end out of a path, as clients make them of
    base URLs; true if there were any.
    """
    path: str = scope["path"]
    if path.startswith(_CONSOLE):
        return False
    if "//" not in path and (path == "/" or not path.endswith("/")):
        return False
    scope["path"] = "/" + "/".join(part for part in path.split("/") if part)
    scope["raw_path"] = quote(scope["path"]).encode()
    return True
