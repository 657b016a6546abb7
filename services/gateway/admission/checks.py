"""What is decided about a request before any model sees it. Pure."""

import math

from schemas.errors import ErrorCode
from schemas.inference import End, ErrorDetail, InferenceRequested, Outcome
from services.common.control.state import ControlState
from services.common.http.problems import NO_RETRY, Headers, Problem, retry_after
from services.gateway.streams.queue_positions import QueuePosition

_LONGEST_WAIT_S = 60


def refusal(state: ControlState, request: InferenceRequested) -> tuple[End, Problem] | None:
    """The end of a request that is not to be served, and what its client is told; None
    where it may go on.
    """
    model = state.models.get(request.model)
    if model is not None and model.deleted_at is None and not model.enabled:
        detail = ErrorDetail(
            status=403,
            code=ErrorCode.MODEL_DISABLED,
            message=f"The model {request.model!r} was switched off by an administrator.",
            param="model",
        )
        problem = Problem(403, detail.code, detail.message, detail.param, NO_RETRY)
        return End(outcome=Outcome.BLOCKED, error=detail), problem
    return None


def too_late(request: InferenceRequested, place: QueuePosition | None) -> Problem | None:
    """The refusal of a request that would not be served before its deadline, as fast as
    its queue moves now; None where it would, or that is not known.
    """
    if place is None or place.eta_ms is None:
        return None
    within_s = (request.deadline - request.requested_at).total_seconds()
    late_s = place.eta_ms / 1000 - within_s
    if late_s <= 0:
        return None
    wait_s = min(max(1, math.ceil(late_s)), _LONGEST_WAIT_S)
    return Problem(
        503,
        ErrorCode.OVERLOADED,
        f"The queue of the model {request.model!r} is too long: this request would be number "
        f"{place.position} and begin in about {place.eta_ms / 1000:.0f} s, and it has {within_s:.0f} s. "
        "Nothing was begun. Try again later.",
        headers=retry_after(wait_s),
    )


def queue_headers(place: QueuePosition | None) -> Headers:
    """Where a request stands in its queue, as it is made; nothing where nobody waits."""
    if place is None:
        return ()
    eta: Headers = () if place.eta_ms is None else (("x-queue-eta-ms", f"{place.eta_ms:.0f}"),)
    return (("x-queue-position", str(place.position)), *eta)
