"""What goes wrong for a client, as a value with the status, code and text that it sees."""

import math
from dataclasses import dataclass, field
from typing import Any

from schemas.errors import ErrorCode
from services.common.errors import TocsinError

Headers = tuple[tuple[str, str], ...]

NO_RETRY: Headers = (("x-should-retry", "false"),)
"""The same request would end the same way: OpenAI's clients then do not repeat it."""
_TYPES = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    429: "rate_limit_error",
}
_TITLES = {
    400: "Bad request",
    401: "Not authenticated",
    403: "Not allowed",
    404: "Not found",
    405: "Method not allowed",
    408: "Body not in time",
    409: "Conflict",
    412: "Changed meanwhile",
    413: "Body too large",
    415: "Encoding not served",
    422: "Not processable",
    428: "If-Match is missing",
    429: "Too many requests",
    503: "Not available now",
    504: "Not in time",
}


@dataclass(frozen=True, slots=True)
class Problem:
    """An error as the client shall see it. `errors` are all fields that are wrong, where
    they are known one by one, each with what is wrong; `param` is the first.
    """

    status: int
    code: str
    message: str
    param: str | None = None
    headers: Headers = field(default=())
    errors: tuple[tuple[str, str], ...] = ()
    details: tuple[tuple[str, str], ...] = ()
    """Further fields of the body, beside those that each error has."""

    @property
    def type(self) -> str:
        """OpenAI's broad class of the error."""
        if self.code == ErrorCode.INSUFFICIENT_QUOTA:
            return self.code
        return _TYPES.get(self.status, "invalid_request_error" if self.status < 500 else "server_error")

    def openai_body(self) -> dict[str, Any]:
        """The body under /v1 and in a stream."""
        error = {"message": self.message, "type": self.type, "param": self.param, "code": self.code}
        return {"error": {**dict(self.details), **error}}

    def problem_body(self) -> dict[str, Any]:
        """The body elsewhere: RFC 9457."""
        title = _TITLES.get(self.status, "Error")
        body: dict[str, Any] = {
            "type": "about:blank",
            "title": title,
            "status": self.status,
            "detail": self.message,
            "code": self.code,
            **dict(self.details),
        }
        if self.errors:
            body["errors"] = [{"field": name, "message": text} for name, text in self.errors]
        return body | ({"param": self.param} if self.param else {})


ERROR_SCHEMA: dict[str, Any] = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["message", "type", "param", "code"],
            "properties": {
                "message": {"type": "string"},
                "type": {"type": "string"},
                "param": {"type": ["string", "null"]},
                "code": {"type": ["string", "null"]},
                "category": {"type": "string"},
                "request_id": {"type": "string"},
            },
        }
    },
}
"""What `Problem.openai_body` gives, for OpenAPI documents."""
PROBLEM_SCHEMA: dict[str, Any] = {
    "type": "object",
    "required": ["type", "title", "status", "detail", "code"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "code": {"type": "string"},
        "param": {"type": "string"},
        "category": {"type": "string"},
        "request_id": {"type": "string"},
        "errors": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["field", "message"],
                "properties": {"field": {"type": "string"}, "message": {"type": "string"}},
            },
        },
    },
}
"""What `Problem.problem_body` gives."""


class ProblemError(TocsinError):
    """Carries a problem to the edge, which answers with it.

    `request_id` is that of the inference request whose end it tells, where it already
    has one: the client finds the recorded end by it.
    """

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.message)
        self.problem = problem
        self.request_id = ""


CLIENT_LEFT = Problem(499, ErrorCode.CLIENT_LEFT, "The client closed the connection.")
"""Never sent; the access log and metrics record it."""


def retry_after(seconds: float) -> Headers:
    """When to ask again: in whole seconds for everybody, in milliseconds for OpenAI's
    clients.
    """
    wait_ms = max(1, math.ceil(seconds * 1000))
    return (("retry-after", str(math.ceil(wait_ms / 1000))), ("retry-after-ms", str(wait_ms)))


def malformed(
    message: str, param: str | None = None, code: ErrorCode = ErrorCode.INVALID_VALUE
) -> ProblemError:
    """400: the request cannot be understood."""
    return ProblemError(Problem(400, code, message, param))


def unauthenticated(message: str) -> ProblemError:
    """401: no key, or none that is good."""
    return ProblemError(
        Problem(401, ErrorCode.INVALID_API_KEY, message, headers=(("www-authenticate", "Bearer"),))
    )


def forbidden(message: str) -> ProblemError:
    """403: the key is good, but not for this."""
    return ProblemError(Problem(403, ErrorCode.INSUFFICIENT_PERMISSIONS, message))


def too_large(limit_bytes: int, *, hang_up: bool) -> ProblemError:
    """413: the body is larger than this service takes.

    `hang_up` closes the connection, on which more of it would come.
    """
    headers = (("connection", "close"),) if hang_up else ()
    return ProblemError(
        Problem(
            413,
            ErrorCode.BODY_TOO_LARGE,
            f"The body is larger than {limit_bytes} bytes; TOCSIN_MAX_BODY_BYTES sets this limit.",
            headers=headers,
        )
    )


def body_too_slow(timeout_s: float) -> ProblemError:
    """408: the body did not come in time; the connection ends with the answer."""
    message = f"The body did not come within {timeout_s:g} s; TOCSIN_BODY_TIMEOUT_S sets this limit."
    return ProblemError(Problem(408, ErrorCode.BODY_INCOMPLETE, message, headers=(("connection", "close"),)))


def unavailable(
    message: str, *, code: ErrorCode = ErrorCode.UNAVAILABLE, retry_after_s: int = 1
) -> ProblemError:
    """503: not now, but soon."""
    return ProblemError(Problem(503, code, message, headers=retry_after(retry_after_s)))
