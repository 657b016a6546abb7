"""Every route of the gateway and the console, by who calls it: a new route without a row
here fails.
"""

from decimal import Decimal
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from fastapi.routing import iter_route_contexts

from schemas.control import (
    BudgetChanged,
    ModelChanged,
    PolicyChanged,
    RouteChanged,
    RouteTarget,
    Scope,
    Subject,
    ThresholdsChanged,
    UserChanged,
)
from services.common.control.state import ControlState
from services.gateway.app import make_app, make_serving
from services.gateway.settings import Settings
from tests.support.console.scene import BEGAN, TENANT_ADMIN, ConsoleScene
from tests.support.control import PEPPER

ROLES = ("nobody", "infer", "read", "other admin", "admin", "platform")
"""Keys of acme, whose the examples are; `other admin` is globex's administrator."""

# `in` is let in, whatever comes of it without a bus; 503 is the store, which is away. What is not one's
# own is 404; what the table of rights forbids, 403; 409 is let in, and the example is in no
# state for it.
MATRIX = """
console GET    /api/auth/session                          401 403 200 200 200 200
console POST   /api/auth/session                          400 400 400 400 400 400
console DELETE /api/auth/session                          401 403 204 204 204 204
console POST   /api/auth/token                            401 200 200 200 200 200
console GET    /api/status                                401 403 200 200 200 200
console GET    /api/quality/satisfaction                  401 403 503 503 503 503
console GET    /api/costs                                 401 403 503 503 503 503
console POST   /v1/feedback                               401 403 403 400 400 400
console GET    /api/me                                    401 403 200 200 200 200
console GET    /api/me/limits                             401 403 200 200 200 200
console GET    /api/me/keys                               401 403 200 200 200 200
console GET    /api/me/usage                              401 403 503 503 503 503
console POST   /api/me/keys/{key_id}/rotate               401 403 404 404 404 404
console POST   /api/me/keys/{key_id}/revoke               401 403 404 404 404 404
console GET    /api/admin/audit                           401 403 403 503 503 503
console GET    /api/admin/tenants                         401 403 403 200 200 200
console POST   /api/admin/tenants                         401 403 403 403 403 201
console GET    /api/admin/tenants/{tenant}                401 403 403 404 200 200
console PATCH  /api/admin/tenants/{tenant}                401 403 403 404 200 200
console DELETE /api/admin/tenants/{tenant}                401 403 403 404 403 200
console POST   /api/admin/tenants/{tenant}/restore        401 403 403 404 403 409
console POST   /api/admin/tenants/{tenant}/purge          401 403 403 404 403 409
console GET    /api/admin/users                           401 403 403 200 200 200
console POST   /api/admin/users                           401 403 403 404 201 201
console GET    /api/admin/users/{tenant}/{user}           401 403 403 404 200 200
console PATCH  /api/admin/users/{tenant}/{user}           401 403 403 404 200 200
console DELETE /api/admin/users/{tenant}/{user}           401 403 403 404 200 200
console POST   /api/admin/users/{tenant}/{user}/restore   401 403 403 404 409 409
console POST   /api/admin/users/{tenant}/{user}/purge     401 403 403 404 403 409
console GET    /api/admin/keys                            401 403 403 200 200 200
console POST   /api/admin/keys                            401 403 403 404 201 201
console GET    /api/admin/keys/{key_id}                   401 403 403 404 200 200
console PATCH  /api/admin/keys/{key_id}                   401 403 403 404 200 200
console DELETE /api/admin/keys/{key_id}                   401 403 403 404 200 200
console POST   /api/admin/keys/{key_id}/restore           401 403 403 404 409 409
console POST   /api/admin/keys/{key_id}/revoke            401 403 403 404 200 200
console POST   /api/admin/keys/{key_id}/rotate            401 403 403 404 200 200
console POST   /api/admin/keys/{key_id}/purge             401 403 403 404 403 204
console GET    /api/admin/budgets                         401 403 403 200 200 200
console POST   /api/admin/budgets                         401 403 403 404 201 201
console GET    /api/admin/budgets/{budget_id}             401 403 403 404 200 200
console GET    /api/admin/budgets/{budget_id}/spend       401 403 403 404 503 503
console PATCH  /api/admin/budgets/{budget_id}             401 403 403 404 200 200
console DELETE /api/admin/budgets/{budget_id}             401 403 403 404 200 200
console POST   /api/admin/budgets/{budget_id}/restore     401 403 403 404 409 409
console POST   /api/admin/budgets/{budget_id}/purge       401 403 403 404 403 204
console GET    /api/admin/models                          401 403 403 403 403 200
console POST   /api/admin/models                          401 403 403 403 403 409
console GET    /api/admin/models/{model}                  401 403 403 403 403 200
console PATCH  /api/admin/models/{model}                  401 403 403 403 403 200
console DELETE /api/admin/models/{model}                  401 403 403 403 403 200
console POST   /api/admin/models/{model}/restore          401 403 403 403 403 409
console POST   /api/admin/models/{model}/purge            401 403 403 403 403 204
console GET    /api/admin/routes                          401 403 403 200 200 200
console POST   /api/admin/routes                          401 403 403 404 201 201
console GET    /api/admin/routes/{tenant}/{route:path}         401 403 403 404 200 200
console PATCH  /api/admin/routes/{tenant}/{route:path}         401 403 403 404 200 200
console DELETE /api/admin/routes/{tenant}/{route:path}         401 403 403 404 200 200
console POST   /api/admin/routes/{tenant}/{route:path}/restore 401 403 403 404 409 409
console POST   /api/admin/routes/{tenant}/{route:path}/purge   401 403 403 404 403 204
console GET    /api/admin/thresholds                      401 403 403 200 200 200
console POST   /api/admin/thresholds                      401 403 403 403 403 409
console GET    /api/admin/thresholds/{tenant}             401 403 403 404 200 200
console PATCH  /api/admin/thresholds/{tenant}             401 403 403 404 403 200
console DELETE /api/admin/thresholds/{tenant}             401 403 403 404 403 200
console POST   /api/admin/thresholds/{tenant}/restore     401 403 403 404 403 409
console POST   /api/admin/thresholds/{tenant}/purge       401 403 403 404 403 204
console GET    /api/admin/policies                        401 403 403 200 200 200
console POST   /api/admin/policies                        401 403 403 404 409 409
console GET    /api/admin/policies/{tenant}               401 403 403 404 200 200
console PATCH  /api/admin/policies/{tenant}               401 403 403 404 200 200
console DELETE /api/admin/policies/{tenant}               401 403 403 404 200 200
console POST   /api/admin/policies/{tenant}/restore       401 403 403 404 409 409
console POST   /api/admin/policies/{tenant}/purge         401 403 403 404 403 204
gateway POST   /v1/chat/completions                       401 400 403 400 400 400
gateway POST   /v1/completions                            401 400 403 400 400 400
gateway POST   /v1/completions/stream                     401 400 403 400 400 400
gateway POST   /v1/responses                              401 400 403 400 400 400
gateway POST   /generate                                  401 400 403 400 400 400
gateway GET    /v1/models                                 401 200 403 200 200 200
gateway GET    /v1/models/{model_id:path}                 401 404 403 404 404 404
gateway GET    /v1/streams/{request_id}                   401 404 403 404 404 404
gateway DELETE /v1/requests/{request_id}                  401 in  403 in  in  in
gateway POST   /v1/feedback                               401 403 403 in  in  in
"""
OPEN = frozenset({"/openapi.json", "/health", "/ready", "/metrics", "/docs", "/docs/{asset}"})
"""What tells nothing of anybody."""

MODEL = "smollm2-135m"
EXAMPLES = {"tenant": "acme", "user": "ann", "budget_id": "b", "model": MODEL, "route:path": "r/s"}
BODIES: dict[str, dict[str, Any]] = {
    "/api/admin/tenants": {"tenant": "new"},
    "/api/admin/users": {"tenant": "acme", "user": "new"},
    "/api/admin/keys": {"tenant": "acme", "name": "new"},
    "/api/admin/budgets": {
        "tenant": "acme",
        "subject": {"kind": "user", "id": "acme/ann"},
        "period": "day",
        "limit_usd": "1",
    },
    "/api/admin/models": {"model": MODEL},
    "/api/admin/routes": {"tenant": "acme", "route": "new", "targets": [{"model": MODEL}]},
    "/api/admin/thresholds": {"tenant": "acme"},
    "/api/admin/policies": {"tenant": "acme"},
}


class Platform:
    """Both services on one state, a key of each role, and one entry of each kind."""

    def __init__(self) -> None:
        scene = ConsoleScene()
        scene.have_tenant("acme")
        scene.have_tenant("globex")
        targets = (RouteTarget(model=MODEL),)
        scene.have(
            UserChanged(tenant="acme", user="ann", created_at=BEGAN, version=1),
            BudgetChanged(
                budget_id="b",
                tenant="acme",
                subject=Subject(kind="user", id="acme/ann"),
                period="day",
                limit_usd=Decimal(1),
                created_at=BEGAN,
                version=1,
            ),
            ModelChanged(model=MODEL, version=1),
            RouteChanged(tenant="acme", route="r/s", targets=targets, version=1),
            ThresholdsChanged(tenant="acme", version=1),
            PolicyChanged(tenant="acme", version=1),
        )
        self.target = scene.key("acme", Scope.INFER)[1]
        self.headers = {
            "nobody": {},
            "infer": scene.key("acme", Scope.INFER)[0],
            "read": scene.key("acme", Scope.READ)[0],
            "other admin": scene.key("globex", *TENANT_ADMIN)[0],
            "admin": scene.key("acme", *TENANT_ADMIN)[0],
            "platform": scene.key("default", *Scope)[0],
        }
        serving = make_serving(Settings(key_pepper=PEPPER, pseudonym_key="a pseudonym key for tests"))
        serving.control.caught_up = True
        self.controls = (scene.console.control, serving.control)
        self.apps = {"console": scene.console.app, "gateway": make_app(serving)}
        self.began: ControlState = scene.console.control.state

    async def status(self, service: str, method: str, path: str, role: str) -> int:
        """What a caller of this role gets, from the state as it was in the beginning."""
        for control in self.controls:
            control.state = self.began
        filled = path.replace("{key_id}", self.target)
        for name, value in EXAMPLES.items():
            filled = filled.replace("{" + name + "}", value)
        transport = httpx.ASGITransport(app=self.apps[service], raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            body = None if method in ("GET", "DELETE") else BODIES.get(path, {})
            answer = await client.request(method, filled, json=body, headers=self.headers[role])
            return answer.status_code


def _row(line: str) -> tuple[str, str, str, list[str]]:
    service, method, path, *expected = line.split()
    return service, method, path, expected


ROWS = [_row(line) for line in MATRIX.strip().splitlines()]


@pytest.fixture(scope="module")
def platform() -> Platform:
    """Made once: each call begins from the same state."""
    return Platform()


def test_every_route_has_a_row(platform: Platform) -> None:
    """And every row a route: whoever adds one decides who may call it."""
    served = {
        (service, method, str(route.path))
        for service, app in platform.apps.items()
        for route in iter_route_contexts(_fastapi(app).routes)
        for method in route.methods or ()
        if method != "HEAD" and route.path not in OPEN
    }
    assert served == {(service, method, path) for service, method, path, _ in ROWS}


@pytest.mark.parametrize(
    ("service", "method", "path", "expected"), ROWS, ids=[" ".join(row[:3]) for row in ROWS]
)
async def test_route_answers_each_role_as_the_matrix_says(
    platform: Platform, service: str, method: str, path: str, expected: list[str]
) -> None:
    """Six callers, six answers."""
    found = [await platform.status(service, method, path, role) for role in ROLES]
    seen = [
        "in" if wanted == "in" and got not in (401, 403, 404) else str(got)
        for got, wanted in zip(found, expected, strict=True)
    ]
    assert dict(zip(ROLES, seen, strict=True)) == dict(zip(ROLES, expected, strict=True))


@pytest.mark.parametrize("path", sorted(OPEN - {"/docs/{asset}", "/ready"}))
async def test_open_route_asks_for_no_key(platform: Platform, path: str) -> None:
    """Health, figures and documentation of both services."""
    for service in platform.apps:
        assert await platform.status(service, "GET", path, "nobody") in (200, 404)


def _fastapi(app: Any) -> FastAPI:
    """The application within its middleware."""
    while not isinstance(app, FastAPI):
        app = app.app if hasattr(app, "app") else app._app
    return app
