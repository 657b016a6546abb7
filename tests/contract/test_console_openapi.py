"""Whatever an administrator sends, the console answers as its OpenAPI document says."""

import contextlib

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from schemas.control import ModelChanged, PolicyChanged, Scope, ThresholdsChanged, UserChanged
from tests.support.console.scene import BEGAN, ConsoleScene

CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]
ASKED = ("/api/admin", "/api/auth", "/api/me")
NEED_A_STORE = frozenset({"/api/admin/audit", "/api/admin/budgets/{budget_id}/spend", "/api/me/usage"})


@pytest.fixture(scope="module")
def scene() -> ConsoleScene:
    """A console with some entries."""
    scene = ConsoleScene()
    scene.have_tenant("acme")
    scene.have(
        UserChanged(tenant="acme", user="ann", created_at=BEGAN, version=1),
        ModelChanged(model="smollm2-135m", version=1),
        ThresholdsChanged(tenant="acme", version=1),
        PolicyChanged(tenant="acme", version=1),
    )
    return scene


@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE])
def test_administration_keeps_to_the_document(scene: ConsoleScene, mode: GenerationMode) -> None:
    """Good requests and bad ones never get a 5xx or an answer that the document does not
    name.
    """
    headers, began = scene.key("default", *Scope)[0], scene.console.control.state
    document = schemathesis.openapi.from_asgi("/openapi.json", scene.console.app)
    for result in document.get_all_operations():
        operation = result.ok()
        if not operation.path.startswith(ASKED) or operation.path in NEED_A_STORE:
            continue

        @settings(max_examples=2, deadline=None, database=None, suppress_health_check=list(HealthCheck))
        @given(operation.as_strategy(generation_mode=mode))
        def check(case: schemathesis.Case) -> None:
            scene.console.control.state = began
            case.call_and_validate(headers=headers, checks=CHECKS)

        with contextlib.suppress(Unsatisfiable):  # an operation without parameters cannot be asked wrongly
            check()
