"""What a message that cannot be read still says: enough to end its request."""

from typing import Any

import orjson
from pydantic import BaseModel, ConfigDict, ValidationError

from schemas.errors import ErrorCode
from schemas.inference import End, ErrorDetail, LogPosition, Outcome, ReplyTo, RequestFinished

ANY_ATTEMPT = 65_535
"""Above every real one: the end of a request whose attempt is not known ends whichever
is current. The store's column ends here.
"""


class Salvaged(BaseModel):
    """The readable fields of an unreadable request."""

    model_config = ConfigDict(extra="ignore")

    attempt: int = ANY_ATTEMPT
    previous: LogPosition | None = None
    reply_to: ReplyTo | None = None
    tenant: str | None = None
    key_id: str = ""
    user: str = ""
    stream: bool = False


def salvage(value: bytes | None) -> Salvaged:
    """Those fields of a request that can be read."""
    said = _object(value)
    readable: dict[str, Any] = {}
    for name in Salvaged.model_fields:
        if name in said:
            try:
                Salvaged.model_validate({name: said[name]})
            except ValidationError:
                continue
            readable[name] = said[name]
    return Salvaged.model_validate(readable)


def unreadable_attempt(value: bytes | None, replica_id: str, model: str) -> RequestFinished | None:
    """The end of an assignment that its replica cannot read; None where it was none, or
    does not say of what.
    """
    request = _object(value).get("request")
    said = request if isinstance(request, dict) else {}
    return _failed(said, replica_id, model, "the replica cannot read the request; send it again")


def unreadable_report(value: bytes | None, model: str) -> RequestFinished | None:
    """The end of an attempt whose report its dispatcher cannot read; None where it was
    none, or does not say of what.
    """
    said = _object(value)
    if said.get("kind") != "finished":
        return None
    return _failed(said, said.get("replica_id"), model, "the replica's report cannot be read")


def _failed(said: dict[str, Any], replica_id: object, model: str, message: str) -> RequestFinished | None:
    error = ErrorDetail(status=503, code=ErrorCode.REQUEST_UNREADABLE, message=message)
    try:
        return RequestFinished.model_validate(
            {
                "replica_id": replica_id,
                "model": model,
                "request_id": said.get("request_id"),
                "attempt": said.get("attempt"),
                "end": End(outcome=Outcome.FAILED, error=error),
            }
        )
    except ValidationError:
        return None


def _object(value: bytes | None) -> dict[str, Any]:
    try:
        said = orjson.loads(value or b"")
    except orjson.JSONDecodeError:
        return {}
    return said if isinstance(said, dict) else {}
