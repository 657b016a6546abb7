"""The queue as clients and operators may see it."""

from schemas.inference import Lane, QueueStatus
from services.inference.domain.dispatch.state import Dispatch


def queue_status(dispatch: Dispatch, *, dispatcher_id: str, host: str, pid: int, now_s: float) -> QueueStatus:
    """What waits, and how long the next one will."""
    queue = dispatch.waiting.queue
    turns = {lane: queue.turns(lane) for lane in Lane if queue.waiting(lane)}
    return QueueStatus(
        dispatcher_id=dispatcher_id,
        model=dispatch.rules.model,
        host=host,
        pid=pid,
        active=True,
        waiting={lane: queue.waiting(lane) for lane in Lane},
        running=dispatch.fleet.running,
        slots=dispatch.fleet.slots,
        eta_ms=dispatch.completions.throughput.interval_ms(
            dispatch.fleet.slots, dispatch.fleet.running_s(now_s), now_s
        ),
        tenants={
            lane: {turn.tenant: turn.waiting for turn in told if turn.tenant} for lane, told in turns.items()
        },
        turns=turns,
        retries=queue.retries,
        interactive_run=queue.interactive_run,
        positions=queue.positions(),
    )
