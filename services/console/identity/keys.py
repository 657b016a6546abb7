"""Which keys open the console, by the control state."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from schemas.control import KeyChanged, Scope
from schemas.errors import ErrorCode
from services.common.control.authentication import KeyChecker, Refusal
from services.common.control.reader import ControlReader
from services.common.http.problems import ProblemError, forbidden, unauthenticated, unavailable

_MESSAGES: Mapping[Refusal, str] = {
    Refusal.MALFORMED: "The API key is malformed; `tocsin keys create` makes one.",
    Refusal.UNKNOWN: "The API key is not known; `tocsin keys create` makes one.",
    Refusal.UNSIGNED: "The API key's record was not written by this installation's administrator.",
    Refusal.REVOKED: "The API key was revoked.",
    Refusal.EXPIRED: "The API key has expired.",
    Refusal.CLOSED: "The API key's tenant or user was suspended or deleted.",
}


class UnknownKeyError(ProblemError):
    """No key, or one that nobody knows: it may be a guess."""


@dataclass
class Keys:
    """Checks keys; nobody is let in before the control state is read."""

    control: ControlReader
    checker: KeyChecker

    def find(self, key_id: str) -> KeyChanged | None:
        """A key by its public part, good or not."""
        return self.control.state.keys.get(key_id)

    def check(self, authorization: str, scope: Scope, now: datetime) -> KeyChanged:
        """The key of an Authorization header, if it is good for `scope`.

        Raises:
            UnknownKeyError: 401, nobody knows it.
            ProblemError: 401, it ended; 403, it lacks the scope; 503, the keys are not
                read yet.
        """
        self._require_caught_up()
        return _or_problem(self.checker.check(self.control.state, authorization, scope, now=now), scope)

    def recheck(self, key_id: str, scope: Scope, now: datetime) -> KeyChanged:
        """A session's key, if it is good for `scope` still.

        Raises:
            ProblemError: as for `check`.
        """
        self._require_caught_up()
        return _or_problem(self.checker.recheck(self.control.state, key_id, scope, now=now), scope)

    def _require_caught_up(self) -> None:
        if not self.control.caught_up:
            raise unavailable("The console is starting. Try again.", code=ErrorCode.STARTING)


def _or_problem(checked: KeyChanged | Refusal, scope: Scope) -> KeyChanged:
    if not isinstance(checked, Refusal):
        return checked
    if checked is Refusal.SCOPE:
        raise forbidden(f"The API key lacks the scope {scope.value!r}.")
    problem = unauthenticated(_MESSAGES[checked]).problem
    raise (
        UnknownKeyError(problem) if checked in (Refusal.MALFORMED, Refusal.UNKNOWN) else ProblemError(problem)
    )
