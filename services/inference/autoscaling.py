"""How many replicas a model needs: by its queue and its slots, which Ray Serve's own
counters don't see, since no request goes through its router.
"""

import math
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ray.serve.config import AutoscalingContext

RUNNING, WAITING = "running", "waiting"
TARGET_LOAD = 0.8
"""Share of the slots that shall be in use."""


def replicas_needed(*, running: float, waiting: float, slots: int, lowest: int, highest: int) -> int:
    """Replicas that hold what runs and waits at the target load, within bounds."""
    return min(highest, max(lowest, math.ceil((running + waiting) / (slots * TARGET_LOAD))))


class SlotsPolicy:
    """Ray Serve's custom autoscaling policy.

    Every replica reports what it runs, and the queue that the dispatcher told it of.
    """

    def __init__(self, slots: int) -> None:
        self._slots = slots

    def __call__(self, context: "AutoscalingContext") -> tuple[int, dict[str, Any]]:
        """The number of replicas wanted now; no state is carried."""
        metrics = context.aggregated_metrics or {}
        running = sum(metrics.get(RUNNING, {}).values())
        waiting = max(metrics.get(WAITING, {}).values(), default=0.0)
        wanted = replicas_needed(
            running=running,
            waiting=waiting,
            slots=self._slots,
            lowest=context.capacity_adjusted_min_replicas,
            highest=context.capacity_adjusted_max_replicas,
        )
        return wanted, {}
