"""Lets callers in by the control state, or says why not in the API's terms."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from schemas.control import KeyChanged, Scope
from schemas.errors import ErrorCode
from services.common.control.authentication import KeyChecker, Refusal
from services.common.control.principal import Principal
from services.common.control.reader import ControlReader
from services.common.http.problems import ProblemError, forbidden, unauthenticated, unavailable

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


class UnknownKeyError(ProblemError):
    """No key, or one that nobody knows: it may be a guess."""


@dataclass
class Authenticator:
    """Checks keys; nobody is let in before the control state is read.

    `on_refusal` hears of everyone who is not let in.
    """

    control: ControlReader
    checker: KeyChecker
    on_refusal: Callable[[Refusal], None] = lambda _: None

    def find(self, key_id: str) -> KeyChanged | None:
        """A key by its public part, good or not."""
        return self.control.state.keys.get(key_id)

    def authenticate(self, authorization: str | None, scope: Scope, *, now: datetime) -> Principal:
        """Whom an Authorization header stands for, if it is good for `scope`.

        Raises:
            UnknownKeyError: 401, nobody knows it.
            ProblemError: 401, it is good no more; 403, it lacks the scope; 503, the keys
                are not read yet.
        """
        self._require_caught_up()
        return self._or_problem(self.checker.check(self.control.state, authorization, scope, now=now), scope)

    def recheck(self, key_id: str, scope: Scope, *, now: datetime) -> Principal:
        """Whose key this is whose secret was shown earlier, if it is good for `scope` still.

        Raises:
            ProblemError: as for `authenticate`.
        """
        self._require_caught_up()
        return self._or_problem(self.checker.recheck(self.control.state, key_id, scope, now=now), scope)

    def _require_caught_up(self) -> None:
        if not self.control.caught_up:
            raise unavailable("The keys are not read yet. Try again.", code=ErrorCode.STARTING)

    def _or_problem(self, checked: Principal | Refusal, scope: Scope) -> Principal:
        if isinstance(checked, Refusal):
            self.on_refusal(checked)
            raise _problem(checked, scope)
        return checked


def _problem(refusal: Refusal, scope: Scope) -> ProblemError:
    if refusal is Refusal.SCOPE:
        return forbidden(f"The API key lacks the scope {scope.value!r}.")
    problem = unauthenticated(_MESSAGES[refusal])
    return UnknownKeyError(problem.problem) if refusal in (Refusal.MALFORMED, Refusal.UNKNOWN) else problem
