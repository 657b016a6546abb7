"""Every route of the gateway and the console, by who calls it: a new route without a row
in matrix.txt fails.
"""

from decimal import Decimal
from pathlib import Path
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
from schemas.events.audit import SubjectErasure
from services.common.control.state import ControlState
from services.gateway.app import make_app, make_serving
from services.gateway.settings import Settings
from tests.support.console.scene import BEGAN, ISSUED, PSEUDONYM_KEY, TENANT_ADMIN, ConsoleScene
from tests.support.control import PEPPER

ROLES = ("nobody", "infer", "read", "other admin", "admin", "platform")
"""Keys of acme, whose the examples are; `other admin` is globex's administrator."""

# What is not one's own is 404; what the table of rights forbids, 403. 409 is let in, and the
# example is in no state for it; 503 is let in, where there is no bus and no console.
MATRIX = Path(__file__).with_name("matrix.txt").read_text(encoding="utf-8")
SAME_AS = {"issued": "read", "narrowed": "read", "session": "admin", "admin token": "admin"}
"""Other things that callers of acme show, with the key that may do the same: a token of the
identity provider for a user entered with `read`; one for an administrator's key, narrowed to
`read`; an administrator's session; and a token for a key of all scopes, narrowed to an
administrator's.
"""
TOKENS = ("issued", "narrowed", "admin token")
PATHS = {
    "users": "{tenant}/{user}",
    "keys": "{key_id}",
    "budgets": "{budget_id}",
    "routes": "{tenant}/{route:path}",
    "policies": "{tenant}",
}
EXCEPTIONS = {
    # A session is the console's, and no key to be exchanged; nor is a token.
    **{(one, "POST", "/api/auth/token"): "401" for one in SAME_AS},
    # What outlives a token is not for it.
    **{(one, "POST", "/api/me/keys/{key_id}/rotate"): "403" for one in TOKENS},
    ("admin token", "DELETE", "/api/privacy/subjects/{user:whole}"): "403",
    ("admin token", "PATCH", "/api/admin/tenants/{tenant}"): "403",
    ("admin token", "POST", "/api/admin/keys/{key_id}/rotate"): "403",
    **{("admin token", "POST", f"/api/admin/{plural}"): "403" for plural in PATHS},
    **{
        ("admin token", verb, f"/api/admin/{plural}/{path}{more}"): "403"
        for plural, path in PATHS.items()
        for verb, more in (("PATCH", ""), ("DELETE", ""), ("POST", "/restore"))
        if verb != "DELETE" or plural not in ("keys", "users")
    },
}
TENANT_OF = {"other admin": "globex", "platform": "default"} | dict.fromkeys(
    ("infer", "read", "admin", *SAME_AS), "acme"
)
PLATFORMS = {
    "/api/costs": {"*"},
    "/api/usage/analytics": {"*"},
    "/api/usage/breaches": {"*"},
    "/api/quality/models": {"*"},
    "/api/requests": {"*"},
    "/api/requests/{request_id}": {"*"},
    "/api/export/{view}": {"*"},
    "/api/usage/forecast": {"*"},
    "/api/usage/anomalies": {"*"},
    "/api/usage/capacity": {"*"},
    "/api/admin/audit": {"*"},
    "/api/admin/budgets/{budget_id}/spend": {"acme"},
    "/api/security/summary": {"*"},
    "/api/security/findings": {"*"},
    "/api/security/users/{user:whole}/timeline": {"acme"},
    "/api/security/findings/{finding_id}/feedback": {"*"},
    "/api/recommendations": {"*"},
    **{f"/api/recommendations/{{fingerprint}}{what}": {"*"} for what in ("", "/accept", "/dismiss", "/done")},
}
"""Where a platform administrator is told of others than its own tenant; `*` are all."""
EXPORT = "/api/privacy/subjects/{user:whole}/export"
FROM_THE_STORE = frozenset(
    {*PLATFORMS, "/api/quality/satisfaction", "/api/me/usage", "/api/security/tuning", EXPORT}
)
QUERIES = {("/api/security/users/{user:whole}/timeline", "platform"): "?tenant=acme"}
"""What a role has to say, too: a user's name means nothing without whose."""
OPEN = frozenset(
    {
        "/openapi.json",
        "/health",
        "/ready",
        "/metrics",
        "/docs",
        "/docs/{asset}",
        "/api/docs",
        "/api/docs/{asset}",
        "/api/openapi.json",
    }
)
"""What tells nothing of anybody."""

MODEL = "smollm2-135m"
EXAMPLES = {
    "tenant": "acme",
    "user": "ann",
    "user:whole": "ann",
    "receipt_id": "e",
    "view": "v_requests",
    "request_id": "req-1",
    "budget_id": "b",
    "model": MODEL,
    "route:path": "r/s",
}
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
    "/api/security/analyze": {"prompt": "Hello"},
    "/api/security/findings/{finding_id}/feedback": {"verdict": "true_alarm"},
}


class Platform:
    """Both services on one state, a key of each role, and one entry of each kind."""

    def __init__(self) -> None:
        self.scene = scene = ConsoleScene()
        scene.have_tenant("acme")
        scene.have_tenant("globex")
        targets = (RouteTarget(model=MODEL),)
        scene.have(
            UserChanged(tenant="acme", user="ann", created_at=BEGAN, version=1),
            UserChanged(tenant="acme", user="jo", created_at=BEGAN, version=1, scopes=(Scope.READ,)),
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
        scene.console.privacy.log.put(
            SubjectErasure(
                erasure_id="e",
                tenant="acme",
                subject="s",
                requested_by="key:k",
                requested_at=BEGAN,
                cut_at=BEGAN,
            )
        )
        self.target = scene.key("acme", Scope.INFER)[1]
        self.everything = scene.key("acme", *Scope)[0]
        self.headers: dict[str, dict[str, str]] = {
            "nobody": {},
            "infer": scene.key("acme", Scope.INFER)[0],
            "read": scene.key("acme", Scope.READ)[0],
            "other admin": scene.key("globex", *TENANT_ADMIN)[0],
            "admin": scene.key("acme", *TENANT_ADMIN)[0],
            "platform": scene.key("default", *Scope)[0],
        }
        serving = make_serving(Settings(key_pepper=PEPPER, pseudonym_key=PSEUDONYM_KEY, **ISSUED))
        serving.control.caught_up = True
        self.controls = (scene.console.control, serving.control)
        self.apps = {"console": scene.console.app, "gateway": make_app(serving)}
        self.began: ControlState = scene.console.control.state

    async def shown(self, role: str) -> dict[str, str]:
        """What a caller of this role shows."""
        if role == "issued":
            return self.scene.issued("jo", *Scope)
        if role == "narrowed":
            return await self.scene.token(self.headers["admin"], Scope.READ)
        if role == "admin token":
            return await self.scene.token(self.everything, *TENANT_ADMIN)
        if role == "session":
            return await self.scene.session(self.headers["admin"])
        return self.headers[role]

    async def status(self, service: str, method: str, path: str, role: str) -> int:
        """What a caller of this role gets, from the state as it was in the beginning."""
        headers = await self.shown(role)
        self.scene.store.asked.clear()
        for control in self.controls:
            control.state = self.began
        filled = path.replace("{key_id}", self.target)
        for name, value in EXAMPLES.items():
            filled = filled.replace("{" + name + "}", value)
        transport = httpx.ASGITransport(app=self.apps[service], raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            body = None if method in ("GET", "DELETE") else BODIES.get(path, {})
            filled += QUERIES.get((path, role), "")
            answer = await client.request(method, filled, json=body, headers=headers)
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
        for route in iter_route_contexts(fastapi_of(app).routes)
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
    """To a token or a session as to the key that may do the same; and with nobody's data
    but their tenant's: the store is asked for no other.
    """
    wanted = dict(zip(ROLES, expected, strict=True))
    for other, same in SAME_AS.items():
        alike = "401" if (service, other) == ("gateway", "session") else wanted[same]
        wanted[other] = EXCEPTIONS.get((other, method, path), alike)
    found, asked = {}, {}
    for role in wanted:
        found[role] = str(await platform.status(service, method, path, role))
        asked[role] = platform.scene.store.tenants_asked_for()
    assert found == wanted
    needs_store = service == "console" and path in FROM_THE_STORE
    is_looked_up = path.endswith("/feedback") or "{fingerprint}" in path
    answers = {"200", "404"} if is_looked_up else {"200"}  # there is none
    assert asked == {
        role: _asked_for(role, path) if needs_store and found[role] in answers else set() for role in asked
    }


def _asked_for(role: str, path: str) -> set[str]:
    return PLATFORMS[path] if role == "platform" and path in PLATFORMS else {TENANT_OF[role]}


@pytest.mark.parametrize("role", ["read", "admin", "other admin", *SAME_AS])
@pytest.mark.parametrize("tenant", ["acme", "globex", "default", "*", "nobody"])
async def test_store_is_never_asked_for_a_tenant_that_only_a_parameter_names(
    platform: Platform, role: str, tenant: str
) -> None:
    """Costs are refused, the audit of others is empty; whatever else is sent along."""
    headers = await platform.shown(role)
    for query in (f"tenant={tenant}", f"tenant={tenant}&user=x", f"tenant={tenant}&tenant=acme"):
        for path in sorted(path for path in FROM_THE_STORE if not path.endswith(("/spend", "/feedback"))):
            platform.scene.store.asked.clear()
            await platform.scene.client.get(f"{path}?{query}", headers=headers)
            assert platform.scene.store.tenants_asked_for() <= {TENANT_OF[role]}


@pytest.mark.parametrize("path", sorted(OPEN - {"/docs/{asset}", "/api/docs/{asset}", "/ready"}))
async def test_open_route_asks_for_no_key(platform: Platform, path: str) -> None:
    """Health, figures and documentation of both services."""
    for service in platform.apps:
        away = {503} if service == "gateway" and path.startswith("/api/") else set()  # it passes them on
        assert await platform.status(service, "GET", path, "nobody") in {200, 404} | away


def fastapi_of(app: Any) -> FastAPI:
    """The application within its middleware."""
    while not isinstance(app, FastAPI):
        app = app.app if hasattr(app, "app") else app._app
    return app
