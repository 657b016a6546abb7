"""Joins the parts of a gateway's inspection."""

from collections.abc import Callable

from services.common.clock import monotonic_s
from services.common.control.state import ControlState
from services.common.control.thresholds import parse_thresholds
from services.common.process.health import HealthState
from services.gateway.admission.inspection.fair_queue import FairQueue
from services.gateway.admission.inspection.inspector import Inspector, TimeBudget
from services.gateway.admission.inspection.pool import WorkerPool
from services.gateway.admission.inspection.process import ProcessWorker
from services.gateway.admission.inspection.screener import Screener
from services.gateway.admission.inspection.spare_cpu import SpareCpu
from services.gateway.settings import Settings

_JOBS, _BYTES = 2048, 8 * 1024 * 1024


def make_inspector(settings: Settings, state: Callable[[], ControlState], health: HealthState) -> Inspector:
    """The inspection; `start` reads the rules, `run` starts the workers."""
    spare_cpu = SpareCpu(monotonic_s)
    pool = WorkerPool(
        settings.inspect_workers,
        ProcessWorker.start,
        FairQueue(_JOBS, _BYTES),
        monotonic_s,
        lambda: spare_cpu.has_some or settings.inspect_always,
    )
    time_budget = TimeBudget(
        settings.inspect_budget_ms / 1000,
        settings.inspect_patience_ms / 1000,
        parse_thresholds(settings.risk_thresholds),
    )
    health.report("inspection", ok=False, detail="reading the rules")
    return Inspector(state, lambda: Screener.load(with_model=False), pool, time_budget, monotonic_s, health)
