"""What goes wrong with a request to a model."""

from collections.abc import Sequence
from dataclasses import replace

from schemas.errors import ErrorCode
from schemas.inference import End, ErrorDetail, InferenceRequested, Outcome
from services.common.control.thresholds import LEVELS
from services.common.http.problems import NO_RETRY, Headers, Problem, ProblemError, unauthenticated

_AS_BEFORE = frozenset({ErrorCode.REPLICA_KILLED})
"""How a request fails that would do the same again: OpenAI's clients repeat a 503."""
INJECTION = End(
    outcome=Outcome.BLOCKED,
    error=ErrorDetail(status=400, code=ErrorCode.PROMPT_INJECTION, message="Prompt injection detected"),
)
"""The end of a request whose prompt is blocked."""


def secret_in_prompt(kinds: Sequence[str]) -> End:
    """The end of a request whose prompt holds secrets; who sent it shall find them."""
    names = ", ".join(kind.removeprefix("SECRET_").replace("_", " ").lower() for kind in kinds)
    message = (
        f"The prompt holds a secret ({names}), which this tenant's policy does not let through. No model got "
        "it. Take it out; if it is in use, change it."
    )
    return End(
        outcome=Outcome.BLOCKED,
        error=ErrorDetail(status=400, code=ErrorCode.SECRET_IN_PROMPT, message=message),
    )


def blocked(requests: Sequence[InferenceRequested], end: End, headers: Headers = ()) -> Problem:
    """400: prompts of a call were refused for what they are. What gave an attack away is
    not told: neither rule, place nor score, nor which of several prompts.
    """
    detail = end.error or ErrorDetail(status=400, code=ErrorCode.BLOCKED, message="Blocked")
    details: Headers = (("request_id", requests[0].request_id),)
    if detail.code == ErrorCode.PROMPT_INJECTION:
        worst = max(requests, key=lambda one: one.risk.score if one.risk else 0.0)
        details = (("category", category_of(worst, detail.code)), *details)
    return replace(_of_detail(detail, (*headers, *NO_RETRY, *risk_headers(requests))), details=details)


def category_of(request: InferenceRequested, code: str) -> str:
    """What kind of thing a request is refused for: of an attack its kind."""
    categories = request.risk.categories if request.risk is not None else ()
    return categories[0] if categories and code == ErrorCode.PROMPT_INJECTION else code


def risk_headers(requests: Sequence[InferenceRequested]) -> Headers:
    """The worst risk of the prompts that an answer is to; nothing where none was read."""
    risks = [one.risk for one in requests if one.risk is not None and one.risk.depth != "none"]
    levels = [one.level for one in risks if one.level in LEVELS]
    return (("x-risk", max(levels, key=LEVELS.index)),) if levels else ()


def shut_out() -> ProblemError:
    """401: whoever asked was shut out meanwhile."""
    return unauthenticated(
        "The API key was revoked, or its user or tenant suspended or deleted, while the request was under "
        "way; it was taken back."
    )


def no_such_model(name: str) -> ProblemError:
    """404: there is no such model for this key."""
    return ProblemError(
        Problem(
            404,
            ErrorCode.MODEL_NOT_FOUND,
            f"The model {name!r} does not exist or this key may not use it; GET /v1/models lists those "
            "that it may.",
            "model",
        )
    )


def no_such_request(request_id: str) -> ProblemError:
    """404: nobody knows this request, or not this caller."""
    message = (
        f"There is no request {request_id!r}. Requests are known by the id of their answer, to "
        "their own tenant, for 15 minutes after they were made."
    )
    return ProblemError(Problem(404, ErrorCode.REQUEST_NOT_FOUND, message, "request_id"))


def has_ended(request_id: str) -> ProblemError:
    """409: the request is over, so that it cannot be cancelled."""
    message = f"The request {request_id!r} has ended; there is nothing to cancel."
    return ProblemError(Problem(409, ErrorCode.REQUEST_FINISHED, message, "request_id", NO_RETRY))


def not_all_begun(problem: Problem, *, begun: int, prompts: int) -> ProblemError:
    """The same problem, met at a later one of several prompts: what it says of that one
    does not hold for those before.
    """
    if problem.status == 503:
        message = (
            f"Prompt {begun + 1} of {prompts} was not taken, or not acknowledged in time ({problem.code}). "
            f"The {begun} before it had begun: what had begun is being cancelled, and is charged only if it "
            "had ended before that. Try again."
        )
    else:
        message = (
            f"Prompt {begun + 1} of {prompts}: {problem.message} The {begun} before it had begun: they are "
            "being cancelled, and are charged only if they had ended before that."
        )
    return ProblemError(replace(problem, message=message))


def not_in_time(waited_s: float) -> Problem:
    """504: no replica began in time."""
    return Problem(
        504,
        ErrorCode.DEADLINE_EXCEEDED,
        f"No replica began to work on the request within {waited_s:g} s; it was taken back.",
    )


def problem_of_end(end: End) -> Problem | None:
    """What an end that is no completion means to the client; None for a completion."""
    if end.error is not None:
        again = end.outcome is not Outcome.BLOCKED and end.error.code not in _AS_BEFORE
        return _of_detail(end.error, () if again else NO_RETRY)
    match end.outcome:
        case Outcome.COMPLETED | Outcome.CACHE_HIT:
            return None
        case Outcome.CANCELLED:
            return Problem(409, ErrorCode.REQUEST_CANCELLED, "The request was cancelled.", headers=NO_RETRY)
        case Outcome.EXPIRED:
            return Problem(
                504,
                ErrorCode.DEADLINE_EXCEEDED,
                "No replica began to work on the request before its deadline.",
            )
        case Outcome.BLOCKED:
            return Problem(403, ErrorCode.BLOCKED, "The request was blocked by a policy.", headers=NO_RETRY)
        case _:
            return Problem(500, ErrorCode.INFERENCE_FAILED, "The request failed. Send it again.")


def _of_detail(detail: ErrorDetail, headers: Headers) -> Problem:
    status = detail.status if 400 <= detail.status <= 599 else 500
    return Problem(status, detail.code, detail.message, detail.param, headers)
