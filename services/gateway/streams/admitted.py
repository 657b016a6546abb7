"""A request that was let in, with all that was taken for it."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime

from schemas.inference import InferenceRequested
from services.common.control.authentication import Refusal, check_rights
from services.common.control.state import ControlState
from services.common.http.problems import Headers
from services.common.requests.prompt_size import expected_tokens
from services.gateway.limits.guard import LimitGuard
from services.gateway.limits.limiter import Reservation
from services.gateway.streams.tenant_slots import Slot


def _nothing(_request_id: str) -> None:
    return


@dataclass(slots=True, eq=False)
class Admitted:
    """A request that may be published, its place at this gateway, its part of limits
    (`reserved`) and of budgets (`release_money`), and what its answer's headers tell.
    `user` is the caller's own name, as far as it is known here.

    What becomes of it is said once: whatever is said later changes nothing.
    """

    request: InferenceRequested
    place: Slot | None = None
    reserved: tuple[LimitGuard, Reservation] | None = None
    headers: Headers = ()
    release_money: Callable[[str], None] = _nothing
    user: str = ""
    _over: bool = field(default=False, init=False)

    def is_shut_out(self, state: ControlState, now: datetime) -> bool:
        """Whether its key is revoked, deleted or purged, or its user or tenant suspended
        or deleted. What a key asked for before it expired goes on.
        """
        request, key = self.request, state.keys.get(self.request.key_id)
        if request.key_id and (key is None or check_rights(state, key, None, now) is Refusal.REVOKED):
            return True
        return not state.is_open(request.tenant, key.user if key is not None else self.user)

    def give_back(self) -> None:
        """The request was never begun: all that was taken for it is free."""
        if not self._over:
            if self.reserved is not None:
                limits, reservation = self.reserved
                limits.give_back(reservation)
            self.release_money(self.request.request_id)
            self._end()

    def block(self) -> None:
        """The request is refused for what it is: it counts as a use of its limits, and
        all else that was taken for it is free.
        """
        if not self._over:
            self._settle(0, 0)
            self.release_money(self.request.request_id)
            self._end()

    def leave_to_its_end(self) -> None:
        """The request may have begun, and nobody follows it here: it counts as a use of
        its limits without tokens; budgets release it when its end is read.
        """
        if not self._over:
            self._settle(0, 0)
            self._end()

    def settle(self, prompt: int, completion: int) -> None:
        """The request ended and took so many tokens; budgets release it when its end is
        read.
        """
        if not self._over:
            self._settle(prompt, completion)
            self._end()

    def settle_delivered(self, completion: int, *, begun: bool) -> None:
        """How the request ended is not known, only what was heard of its answer."""
        if not self._over:
            self._settle(expected_tokens(self.request) if begun else 0, completion)
            self._end()

    def keep(self) -> None:
        """The request goes on at another gateway: the tokens that were reserved count
        as used; budgets release it when its end is read.
        """
        if not self._over:
            self._settle(self.reserved[1].tokens if self.reserved is not None else 0, 0)
            self._end()

    def _settle(self, prompt: int, completion: int) -> None:
        if self.reserved is not None:
            limits, reservation = self.reserved
            limits.settle(self.request, reservation, prompt=prompt, completion=completion)

    def _end(self) -> None:
        self._over = True
        if self.place is not None:
            self.place.leave()
