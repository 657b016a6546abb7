"""Why a change is refused, as the client shall see it."""

from starlette.requests import Request
from starlette.responses import Response

from schemas.errors import ErrorCode
from services.common.control.changes import SECRET_FIELDS
from services.common.control.errors import (
    ChangeRefusedError,
    ConflictError,
    InvalidChangeError,
    NoSuchEntryError,
    StaleError,
)
from services.common.http.access_log import bind_log_fields
from services.common.http.problems import Problem
from services.common.http.responses import problem_response


def problem_of_refusal(error: ChangeRefusedError) -> Problem:
    """404, 409, 412, or 400 that names every field."""
    message = f"{str(error)[:1].upper()}{str(error)[1:]}."
    if isinstance(error, NoSuchEntryError):
        return Problem(404, ErrorCode.NOT_FOUND, message)
    if isinstance(error, StaleError):
        return Problem(412, ErrorCode.PRECONDITION_FAILED, message)
    if isinstance(error, InvalidChangeError) and error.field not in SECRET_FIELDS:
        return Problem(400, ErrorCode.INVALID_VALUE, f"{error}.", error.field, errors=error.problems)
    if isinstance(error, ConflictError | InvalidChangeError):
        return Problem(409, ErrorCode.CONFLICT, message)
    return Problem(400, ErrorCode.INVALID_VALUE, message)


async def on_refused(request: Request, error: Exception) -> Response:
    """Answers with why the present state does not allow a change."""
    assert isinstance(error, ChangeRefusedError)  # noqa: S101  registered for nothing else
    problem = problem_of_refusal(error)
    bind_log_fields(request.scope, code=problem.code)
    return problem_response(problem, request.url.path)
