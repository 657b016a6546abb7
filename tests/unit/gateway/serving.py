"""As much of a gateway as asking needs, without a bus."""

from collections.abc import Sequence
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

from schemas.control import BudgetChanged
from schemas.errors import ErrorCode
from schemas.inference import End, InferenceRequested, LogPosition
from services.common.control.principal import Principal
from services.common.control.state import ControlState
from services.common.http.problems import ProblemError, unavailable
from services.common.requests.model_catalogue import ModelConfig
from services.gateway.admission.gate import Gate
from services.gateway.admission.masking.protector import Protected
from services.gateway.bus.bus_clock import BusClock
from services.gateway.bus.request_limits import encode_request
from services.gateway.bus.request_maker import RequestMaker
from services.gateway.handlers import begin
from services.gateway.openai.requests import CompletionBody
from services.gateway.problems import no_such_model
from services.gateway.streams.reply_stream import ReplyStream
from tests.unit.gateway.budgets.scene import BudgetScene
from tests.unit.gateway.limits.scene import LimitsScene
from tests.unit.gateway.streams.stage import Stage

NOW = datetime(2026, 11, 27, 12, tzinfo=UTC)


class FakeEnds:
    """Keeps the ends that would be recorded."""

    def __init__(self) -> None:
        self.ended: list[tuple[InferenceRequested, End]] = []

    async def end(self, request: InferenceRequested, end: End, *, traceparent: str | None) -> None:
        self.ended.append((request, end))


class Harmless:
    """An inspection that finds nothing."""

    async def inspect(self, requests: Sequence[InferenceRequested]) -> list[InferenceRequested]:
        return list(requests)


class Unprotected:
    """A policy that lets the model have prompts as they are."""

    async def protect(self, requests: Sequence[InferenceRequested]) -> list[Protected]:
        return [Protected(request) for request in requests]


class FakePublisher:
    """Takes so many requests, then the bus is away."""

    def __init__(self, takes: int) -> None:
        self.takes = takes
        self.error: ProblemError | None = None
        self.bus_clock = BusClock(lambda: NOW, lambda: 0.0)
        self.taken: list[InferenceRequested] = []

    def require(self, request: InferenceRequested) -> None:
        encode_request(request)

    async def ask(self, request: InferenceRequested, _traceparent: str | None, **_: Any) -> LogPosition:
        if self.error is not None:
            raise self.error
        if len(self.taken) >= self.takes:
            raise unavailable("Away; nothing was begun. Try again.", code=ErrorCode.BUS_UNAVAILABLE)
        self.taken.append(request)
        return LogPosition(topic="lane", partition=0, offset=len(self.taken))


def serving_of(stage: Stage, takes: int, defaults: str = "", budgets: tuple[BudgetChanged, ...] = ()) -> Any:
    """As much of a gateway as asking needs."""
    model = ModelConfig(name="m", engine="scripted", context_length=100)
    limits = LimitsScene(defaults).admission
    control = SimpleNamespace(state=ControlState())
    publisher = FakePublisher(takes)
    ledger = BudgetScene(budgets).admission

    def find(name: str, _caller: Principal) -> ModelConfig:
        if name != "m":
            raise no_such_model(name)
        return model

    return SimpleNamespace(
        settings=stage.registry.settings,
        registry=stage.registry,
        publisher=publisher,
        requests=RequestMaker(
            stage.registry.settings,
            SimpleNamespace(find=find),  # type: ignore[arg-type]
            publisher.bus_clock,
            lambda: control.state,
            lambda: 0,
            lambda: NOW,
        ),
        gate=Gate(
            lambda: control.state, FakeEnds(), stage.registry, ledger, limits, Harmless(), Unprotected()
        ),  # type: ignore[arg-type]
        control=control,
        readers=SimpleNamespace(own=stage.reader),
        limits=limits,
        budgets=ledger,
        clock=lambda: NOW,
        monotonic=lambda: 0.0,
    )


async def ask(serving: Any, asking: Principal, body: CompletionBody) -> list[ReplyStream]:
    """Lets a text completion in and publishes it."""
    requests = serving.requests.completions(asking, body, stream=False)
    return await begin(serving, await serving.gate.admit(asking, requests, None), None)
