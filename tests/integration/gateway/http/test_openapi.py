"""Whatever a client sends, the gateway answers as its OpenAPI document says."""

import asyncio
import contextlib
import threading
from collections.abc import Iterator

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

from services.gateway.app import build
from tests.integration.gateway.conftest import Scene
from tests.support.inference.fake_inference import FakeInference

CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]


@pytest.fixture
def address(scene: Scene) -> Iterator[str]:
    """A gateway and its inference side on a loop of their own: schemathesis waits for
    its answers.
    """
    loop, ready, done, found = asyncio.new_event_loop(), threading.Event(), asyncio.Event(), []

    async def serve() -> None:
        gateway = build(scene.settings(ack_timeout_s=30.0))
        async with FakeInference(scene.url, scene.model).running():
            try:
                await gateway.start()
                gateway.health.started = True
                working = asyncio.create_task(gateway.run())
                found.append(f"http://127.0.0.1:{gateway.port}")
                ready.set()
                await done.wait()
                working.cancel()
                await asyncio.gather(working, return_exceptions=True)
            finally:
                await gateway.close()

    thread = threading.Thread(target=loop.run_until_complete, args=[serve()])
    thread.start()
    try:
        assert ready.wait(60)
        yield found[0]
    finally:
        loop.call_soon_threadsafe(done.set)
        thread.join(30)
        loop.close()


@pytest.mark.filterwarnings("ignore:Do not use the `random` module")  # the gateway's thread does, meanwhile
@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE])
def test_every_endpoint_keeps_to_the_document(scene: Scene, address: str, mode: GenerationMode) -> None:
    """Requests made from the document, good ones and bad ones, never get a 5xx or an
    answer that the document does not name.
    """
    document = schemathesis.openapi.from_url(f"{address}/openapi.json")
    document = document.exclude(path="/v1/feedback")  # the console's, and there is none here
    for result in document.get_all_operations():
        operation = result.ok()

        @settings(max_examples=15, deadline=None, database=None, suppress_health_check=list(HealthCheck))
        @given(operation.as_strategy(generation_mode=mode))
        def check(case: schemathesis.Case) -> None:
            case.call_and_validate(headers=scene.headers, checks=CHECKS)

        with contextlib.suppress(Unsatisfiable):  # an operation without parameters cannot be asked wrongly
            check()
