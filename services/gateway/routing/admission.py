"""What is decided about a request before any model sees it. Pure."""

from schemas.errors import ErrorCode
from schemas.inference import End, ErrorDetail, InferenceRequested, Outcome
from services.common.control.state import ControlState


def refusal(state: ControlState, request: InferenceRequested) -> End | None:
    """The end of a request that is not to be served; None where it may go on.

    Later checks (limits, budgets, inspection) belong here too.
    """
    model = state.models.get(request.model)
    if model is not None and model.deleted_at is None and not model.enabled:
        detail = ErrorDetail(
            status=403,
            code=ErrorCode.MODEL_DISABLED,
            message=f"The model {request.model!r} was switched off by an administrator.",
            param="model",
        )
        return End(outcome=Outcome.BLOCKED, error=detail)
    return None
