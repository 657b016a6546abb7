"""What the gateway does for its clients, without a bus."""

from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest

from schemas.errors import ErrorCode
from schemas.inference import InferenceRequested, LogPosition
from services.common.control.principal import principal_of
from services.common.control.state import ControlState
from services.common.http.problems import ProblemError, unavailable
from services.common.requests.model_catalogue import ModelConfig
from services.gateway.bus.bus_clock import BusClock
from services.gateway.handlers import ask_completions
from services.gateway.openai.requests import CompletionBody
from tests.unit.common.control.entries import signed_key
from tests.unit.gateway.limits.scene import LimitsScene, caller
from tests.unit.gateway.streams.stage import Stage, make_stage

NOW = datetime(2026, 11, 27, 12, tzinfo=UTC)


class FakePublisher:
    """Takes so many requests, then the bus is away."""

    def __init__(self, takes: int) -> None:
        self.takes = takes
        self.bus_clock = BusClock(lambda: NOW, lambda: 0.0)
        self.taken: list[InferenceRequested] = []

    async def ask(self, request: InferenceRequested, _traceparent: str | None, **_: Any) -> LogPosition:
        if len(self.taken) >= self.takes:
            raise unavailable("Away; nothing was begun. Try again.", code=ErrorCode.BUS_UNAVAILABLE)
        self.taken.append(request)
        return LogPosition(topic="lane", partition=0, offset=len(self.taken))


def serving_of(stage: Stage, takes: int, defaults: str = "") -> Any:
    """As much of a gateway as asking needs."""
    model = ModelConfig(name="m", engine="scripted", context_length=100)
    return SimpleNamespace(
        settings=stage.registry.settings,
        registry=stage.registry,
        publisher=FakePublisher(takes),
        catalogue=SimpleNamespace(find=lambda _name, _key: model),
        control=SimpleNamespace(state=ControlState()),
        readers=SimpleNamespace(own=stage.reader),
        admission=LimitsScene(defaults).admission,
        clock=lambda: NOW,
    )


@pytest.mark.parametrize(
    ("prompts", "takes"), [(["a", "b"], 1), (["a", "b", "c", "d"], 3), (["a", "b"], 0), (["a"], 0)]
)
async def test_bus_that_leaves_midway_is_503_that_says_what_had_begun(prompts: list[str], takes: int) -> None:
    """Nothing was begun only where nothing was; what was is cancelled."""
    stage = make_stage()
    _, key = signed_key()
    asking = principal_of(key)
    body = CompletionBody(model="m", prompt=prompts)
    with pytest.raises(ProblemError) as refused:
        await ask_completions(serving_of(stage, takes), asking, body, stream=False, traceparent=None)
    problem = refused.value.problem
    assert (problem.status, problem.code) == (503, "bus_unavailable")
    assert ("nothing was begun" in problem.message) is (takes == 0)
    assert (f"Prompt {takes + 1} of {len(prompts)}" in problem.message) is (takes > 0)
    stage.tick()
    assert len(stage.publisher.cancelled) == takes
    assert stage.registry.serving == 0


@pytest.mark.parametrize(("prompts", "takes"), [(2, 0), (3, 2)])
async def test_bus_that_leaves_midway_gives_back_what_was_reserved(prompts: int, takes: int) -> None:
    """Of prompts that were begun, and of those that were not; its 503 tells the limits."""
    stage = make_stage()
    serving = serving_of(stage, takes, "key.tokens_per_minute=10000,key.requests_per_minute=50")
    body = CompletionBody(model="m", prompt=["a"] * prompts)
    with pytest.raises(ProblemError) as refused:
        await ask_completions(serving, caller(), body, stream=False, traceparent=None)
    stage.tick()
    assert serving.admission.limiter.meters.of("key:key00001:tokens", 0.0).held == 0
    assert dict(refused.value.problem.headers)["x-ratelimit-remaining-requests"] == str(50 - prompts)


async def test_prompts_beyond_a_limit_are_refused_before_any_is_published() -> None:
    """The fourth of four would exceed it."""
    serving = serving_of(make_stage(), 9, "key.requests_per_minute=3")
    body = CompletionBody(model="m", prompt=["a"] * 4)
    with pytest.raises(ProblemError) as refused:
        await ask_completions(serving, caller(), body, stream=False, traceparent=None)
    assert (refused.value.problem.status, serving.publisher.taken) == (429, [])
    assert refused.value.request_id.startswith("cmpl-")
