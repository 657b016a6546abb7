"""An inspector with readers and workers that a test decides on."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

from schemas.control import PolicyChanged, ThresholdsChanged
from schemas.events.security import PromptRisk
from schemas.inference import InferenceRequested, Lane, ReplyTo, Sampling
from services.common.control.state import ControlState
from services.common.control.thresholds import Thresholds
from services.common.process.child.child_process import ChildLostError
from services.common.process.health import HealthState
from services.gateway.admission.inspection.fair_queue import FairQueue
from services.gateway.admission.inspection.inspector import Inspector, TimeBudget
from services.gateway.admission.inspection.pool import WorkerPool
from services.gateway.admission.inspection.process import Worker
from services.gateway.admission.inspection.reading import Judgement, Reading

NOW = datetime(2026, 11, 27, 12, tzinfo=UTC)
Mode = Literal["off", "observe", "flag", "block"]


def request(tenant: str = "acme", **fields: Any) -> InferenceRequested:
    """A request with the given prompt or messages."""
    return InferenceRequested(
        request_id=fields.pop("request_id", "chatcmpl-1"),
        kind="chat",
        model="m",
        lane=Lane.INTERACTIVE,
        tenant=tenant,
        key_id="key00001",
        sampling=fields.pop("sampling", Sampling()),
        reply_to=ReplyTo(partition=0, gateway_id="g"),
        requested_at=NOW,
        deadline=NOW + timedelta(seconds=60),
        **fields,
    )


def asked(text: str, tenant: str = "acme") -> InferenceRequested:
    """A chat of one message."""
    return request(tenant, messages=({"role": "user", "content": text},))


class FakeScreener:
    """Rules: `certain` is critical, `rules` has ten points of high, `hint` looks odd;
    `endless` is never read to its end.
    """

    versions = ("model-1", "rules-1")

    def __init__(self) -> None:
        self.read_texts: list[str] = []
        self.suspected: list[str] = []

    def read(self, text: str, thresholds: Thresholds) -> Reading:
        self.read_texts.append(text)
        while "endless" in text:
            pass
        if "certain" in text:
            return Reading(thresholds.critical, 25.0, None, ("prompt_injection",))
        if "rules" in text:
            return Reading(10.0, 10.0, None, ("jailbreak",))
        return Reading(0.0, 0.0)

    def suspicion(self, text: str) -> float:
        self.suspected.append(text)
        return 0.0 if "hint" in text else -5.0


def model_says(text: str) -> Judgement:
    """`evil` is critical with rules and high without, `certain` is critical, all else is
    harmless.
    """
    score = 0.0 if "evil" not in text else 30.0 if "rules" in text else 15.0
    score = 30.0 if "certain" in text else score
    return Judgement(score, score / 30, ("jailbreak",) if score else ())


@dataclass
class FakeWorker:
    """Answers by `FakeScreener` and `model_says` once `go` is set; dies where a text
    says so.
    """

    versions: tuple[str, str] = ("model-1", "rules-1")
    go: asyncio.Event = field(default_factory=asyncio.Event)
    done: list[dict[str, Any]] = field(default_factory=list)
    closed: bool = False
    killed: asyncio.Event = field(default_factory=asyncio.Event)

    async def do(self, message: dict[str, Any]) -> list[Any]:
        self.done.append(message)
        await self.go.wait()
        if any("poison" in text for text in message["texts"]):
            raise ChildLostError("poisoned")
        thresholds = Thresholds(*message["thresholds"])
        if message["kind"] == "screen":
            return [list(FakeScreener().read(text, thresholds)) for text in message["texts"]]
        return [list(model_says(text)) for text in message["texts"]]

    async def ended(self) -> None:
        await self.killed.wait()

    async def close(self) -> None:
        self.closed = True


@dataclass
class Scene:
    """An inspector; `workers` are those that were started. They answer at once unless
    `slow`, and none starts while `dead`.
    """

    inspector: Inspector
    workers: list[FakeWorker]
    screener: FakeScreener
    state: ControlState = field(default_factory=ControlState)
    slow: bool = False
    dead: bool = False

    async def start_worker(self) -> Worker:
        if self.dead:
            raise ChildLostError("none starts")
        worker = FakeWorker()
        if not self.slow:
            worker.go.set()
        self.workers.append(worker)
        return worker

    def set_policy(self, mode: Mode, tenant: str = "acme", **fields: Any) -> None:
        policy = PolicyChanged(tenant=tenant, prompt_attacks=mode, version=1, **fields)
        self.state = ControlState(
            policies={**self.state.policies, tenant: policy}, thresholds=self.state.thresholds
        )

    def set_thresholds(self, tenant: str = "acme", **fields: Any) -> None:
        entry = ThresholdsChanged.model_validate({"tenant": tenant, "version": 1} | fields)
        self.state = ControlState(policies=self.state.policies, thresholds={tenant: entry})

    async def risk(self, text: str, tenant: str = "acme") -> PromptRisk:
        """The risk of one message."""
        [found] = await self.inspector.inspect([asked(text, tenant)])
        assert found.risk is not None
        return found.risk


@contextlib.asynccontextmanager
async def scene(
    *,
    workers: int = 1,
    time_budget: TimeBudget | None = None,
    slow: bool = False,
    dead: bool = False,
    jobs: int = 64,
) -> AsyncIterator[Scene]:
    """A running inspector."""
    screener, made = FakeScreener(), list[FakeWorker]()
    monotonic: Callable[[], float] = asyncio.get_running_loop().time

    async def start_worker() -> Worker:
        return await found.start_worker()

    pool = WorkerPool(workers, start_worker, FairQueue(jobs, 1_000_000), monotonic)
    inspector = Inspector(
        lambda: found.state,
        lambda: screener,
        pool,
        time_budget or TimeBudget(budget_s=5.0, decision_s=5.0),
        monotonic,
        HealthState(),
    )
    found = Scene(inspector, made, screener, slow=slow, dead=dead)
    await inspector.start()
    running = asyncio.create_task(inspector.run())
    if workers and not dead:
        assert await pool.wait_until_ready(5.0)
    try:
        yield found
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
