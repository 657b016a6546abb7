"""The OpenAPI documents of gateway and console name every status that clients get."""

from typing import Any

import httpx
import pytest

from tests.unit.console.authorisation.test_matrix import EXAMPLES, Platform, fastapi_of

CHAT, STREAM = "/v1/chat/completions", "/v1/completions/stream"
GENERATING = (CHAT, "/v1/completions", STREAM, "/v1/responses", "/generate")
WITH_A_BODY = {"400", "401", "403", "408", "413", "415", "429", "503"}


@pytest.fixture(scope="module")
def platform() -> Platform:
    """Both services."""
    return Platform()


def operations(platform: Platform) -> list[tuple[str, str, str, dict[str, Any]]]:
    """Service, method, path and description of each operation."""
    return [
        (service, method.upper(), path, operation)
        for service, app in platform.apps.items()
        for path, found in fastapi_of(app).openapi()["paths"].items()
        for method, operation in found.items()
    ]


def test_every_operation_with_a_body_names_what_a_body_may_be_refused_with(platform: Platform) -> None:
    """Too slow, too large, in an encoding that is not served, or not what is wanted."""
    lacking = {
        (service, path): missing
        for service, _, path, operation in operations(platform)
        if "requestBody" in operation and (missing := WITH_A_BODY - set(operation["responses"]))
    }
    assert lacking == {}


async def test_body_in_an_encoding_that_is_not_served_gets_a_status_of_the_document(
    platform: Platform,
) -> None:
    """415, at whichever route; the gateway passes feedback on to the console, which is
    away here.
    """
    headers = platform.headers["platform"] | {"content-encoding": "x-own"}
    asked = {}
    for control in platform.controls:
        control.state = platform.began
    for service, method, path, operation in operations(platform):
        if "requestBody" not in operation:
            continue
        filled = path.replace("{key_id}", platform.target).replace("{route}", "r/s")
        for name, value in EXAMPLES.items():
            filled = filled.replace("{" + name + "}", value)
        transport = httpx.ASGITransport(app=platform.apps[service], raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            answer = await client.request(method, filled, content=b"{}", headers=headers)
        asked[service, path] = answer.status_code
        assert str(answer.status_code) in operation["responses"], (service, path)
    assert {place for place, status in asked.items() if status != 415} == {("gateway", "/v1/feedback")}
    assert len(asked) > 20


def test_generating_operations_name_what_a_request_may_end_with(platform: Platform) -> None:
    """Also what no scripted model does: too long an answer, a failure."""
    found = {path: one for service, _, path, one in operations(platform) if path in GENERATING}
    assert set(found) == set(GENERATING)
    for path, operation in found.items():
        kind = "application/problem+json" if path == "/generate" else "application/json"
        for status in ("400", "403", "404", "409", "413", "422", "429", "500", "503", "504"):
            assert set(operation["responses"][status]["content"]) == {kind}


def test_operations_that_always_stream_name_no_other_answer(platform: Platform) -> None:
    """Those that stream where they are asked to name both."""
    found = {path: one for service, _, path, one in operations(platform) if service == "gateway"}
    content = {path: set(one["responses"].get("200", {}).get("content", ())) for path, one in found.items()}
    events, whole = "text/event-stream", "application/json"
    assert content[STREAM] == content["/v1/streams/{request_id}"] == {events}
    assert found[STREAM]["responses"]["200"]["content"][events] == {}  # no schema: it would be each event's
    assert content[CHAT] == content["/v1/responses"] == {whole, events}
    assert content["/generate"] == {whole}


def test_no_operation_names_the_frameworks_own_422(platform: Platform) -> None:
    """A request that is not as it must be is 400 at all of them."""
    assert "HTTPValidationError" not in str(operations(platform))
