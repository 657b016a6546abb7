"""What a request must be to pass through every message of the bus unchanged; checked on
its encoded form before it is published.
"""

import re
from typing import Any

from pydantic import TypeAdapter, ValidationError

from schemas.errors import ErrorCode
from schemas.inference import InferenceRequested
from schemas.limits import MAX_NESTING, MAX_REQUEST_BYTES, NESTING_MARGIN
from services.common.http.problems import Problem, ProblemError, malformed

_JSON: TypeAdapter[Any] = TypeAdapter(Any)
_NULL = re.compile(rb"[:,\[]null[,\]}]")


def encode_request(request: InferenceRequested) -> bytes:
    """A client's request as it travels.

    Raises:
        ProblemError: 413, it is too large; 400, it is nested too deeply, or has a
            number that JSON cannot carry.
    """
    encoded = request.encode()
    if len(encoded) > MAX_REQUEST_BYTES:
        message = (
            f"The request takes {len(encoded)} bytes on the message bus, more than {MAX_REQUEST_BYTES}; "
            "shorten the conversation."
        )
        raise ProblemError(Problem(413, ErrorCode.BODY_TOO_LARGE, message))
    if not _can_be_wrapped(encoded):
        raise malformed(f"The request is nested more than {MAX_NESTING - NESTING_MARGIN} levels deep.")
    if _NULL.search(encoded) and InferenceRequested.model_validate_json(encoded) != request:
        raise malformed("The request has a number that is beyond what JSON can carry.")
    return encoded


def _can_be_wrapped(encoded: bytes) -> bool:
    """Whether it can still be read inside another message."""
    if encoded.count(b"[") + encoded.count(b"{") <= MAX_NESTING - NESTING_MARGIN:
        return True
    try:
        _JSON.validate_json(b"[" * NESTING_MARGIN + encoded + b"]" * NESTING_MARGIN)
    except ValidationError:
        return False
    return True
