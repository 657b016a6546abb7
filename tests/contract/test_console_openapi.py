"""Whatever anybody sends, the console answers as its OpenAPI document says."""

import contextlib
from decimal import Decimal

import pytest
import schemathesis
import schemathesis.specs.openapi.schemas  # now: CPython before 3.11.8 fails now and then where tests import
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

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
from tests.support.console.scene import BEGAN, TENANT_ADMIN, ConsoleScene

CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]
EXAMPLES, OF_A_KIND = 10, 3
ALIKE = tuple(
    f"/api/admin/{kind}" for kind in ("tenants", "users", "models", "routes", "thresholds", "policies")
)
"""One implementation serves all kinds: keys and budgets are asked as often as the rest."""

KNOWN = {"tenant": "acme", "user": "ann", "model": "smollm2-135m", "budget_id": "b", "route": "r"}
"""What is there, by the names of paths' parameters."""


@pytest.fixture(scope="module")
def scene() -> ConsoleScene:
    """A console with some entries, and a store that answers."""
    scene = ConsoleScene(limits_defaults="plain")
    scene.console.health.started = True
    scene.have_tenant("acme")
    scene.have(
        UserChanged(tenant="acme", user="ann", created_at=BEGAN, version=1),
        ModelChanged(model="smollm2-135m", version=1),
        ThresholdsChanged(tenant="acme", version=1),
        PolicyChanged(tenant="acme", version=1),
        RouteChanged(tenant="acme", route="r", targets=(RouteTarget(model="smollm2-135m"),), version=1),
        BudgetChanged(
            budget_id="b",
            tenant="acme",
            subject=Subject(kind="user", id="acme/ann"),
            period="day",
            limit_usd=Decimal(1),
            created_at=BEGAN,
            version=1,
        ),
    )
    return scene


@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE])
def test_every_route_keeps_to_the_document(scene: ConsoleScene, mode: GenerationMode) -> None:
    """Good requests and bad ones, of whoever sends them, never get a 5xx or an answer
    that the document does not name.
    """
    known = {"key_id": scene.key("acme", Scope.INFER, user="ann")[1], **KNOWN}
    callers = [
        scene.key("default", *Scope)[0],
        scene.key("acme", *TENANT_ADMIN, user="ann")[0],
        scene.issued("ann", Scope.INFER, Scope.FEEDBACK),
        {},
    ]
    began = scene.console.control.state
    document = schemathesis.openapi.from_asgi("/openapi.json", scene.console.app)
    for result in document.get_all_operations():
        operation = result.ok()
        examples = OF_A_KIND if operation.path.startswith(ALIKE) else EXAMPLES

        @settings(
            max_examples=examples, deadline=None, database=None, suppress_health_check=list(HealthCheck)
        )
        @given(operation.as_strategy(generation_mode=mode), st.sampled_from(callers), st.booleans())
        def check(case: schemathesis.Case, headers: dict[str, str], is_there: bool) -> None:  # noqa: FBT001
            scene.console.control.state = began
            if is_there:
                case.path_parameters = {
                    name: known.get(name, one) for name, one in case.path_parameters.items()
                }
            case.call_and_validate(headers=headers, checks=CHECKS)

        with contextlib.suppress(Unsatisfiable):  # an operation without parameters cannot be asked wrongly
            check()
