"""Lets callers in by the control state, or says why not in the API's terms."""

from dataclasses import dataclass
from datetime import datetime

from schemas.control import KeyChanged, Scope
from schemas.errors import ErrorCode
from services.common.control.authentication import KeyChecker, Refusal
from services.common.control.reader import ControlReader
from services.common.http.problems import ProblemError, forbidden, unauthenticated, unavailable
from services.common.process import metrics

_HOW = "Send 'Authorization: Bearer tsn_...'; `tocsin keys create` makes a key."
_MESSAGES = {
    Refusal.MALFORMED: f"There is no API key in the request, or it is malformed. {_HOW}",
    Refusal.UNKNOWN: f"The API key is not known. {_HOW}",
    Refusal.UNSIGNED: "The API key's record was not written by this installation's administrator; it needs "
    "to be replaced: `tocsin doctor` shows which.",
    Refusal.REVOKED: "The API key was revoked.",
    Refusal.EXPIRED: "The API key has expired.",
    Refusal.CLOSED: "The API key's tenant or user was suspended or deleted.",
}


@dataclass
class Authenticator:
    """Checks the key of every request."""

    control: ControlReader
    checker: KeyChecker

    def authenticate(self, authorization: str | None, scope: Scope, *, now: datetime) -> KeyChanged:
        """The key that an Authorization header carries.

        Raises:
            ProblemError: 401, no good key; 403, a good one without this scope; 503, the
                keys are not read yet.
        """
        if not self.control.caught_up:
            raise unavailable("The gateway is starting. Try again.", code=ErrorCode.STARTING)
        checked = self.checker.check(self.control.state, authorization, scope, now=now)
        if isinstance(checked, Refusal):
            raise _problem(checked, scope)
        return checked


def _problem(refusal: Refusal, scope: Scope) -> ProblemError:
    metrics.GATEWAY_REFUSED.labels(refusal).inc()
    if refusal is Refusal.SCOPE:
        return forbidden(f"The API key lacks the scope {scope.value!r}.")
    return unauthenticated(_MESSAGES[refusal])
