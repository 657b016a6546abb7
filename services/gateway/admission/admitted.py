"""A request that was let in, with all that was taken for it."""

from collections.abc import Callable
from dataclasses import dataclass, field

from schemas.inference import InferenceRequested
from services.common.http.problems import Headers
from services.gateway.admission.tenant_slots import Slot
from services.gateway.limits.guard import Permit


def _nothing(_request_id: str) -> None:
    return


@dataclass(slots=True, eq=False)
class Admitted:
    """A request that may be published, its place at this gateway, its part of limits and
    of budgets (`release_money`), and what its answer's headers tell. `user` is the
    caller's own name, as far as it is known here.

    What becomes of it is said once: whatever is said later changes nothing.
    """

    request: InferenceRequested
    place: Slot | None = None
    permit: Permit = field(default_factory=Permit)
    headers: Headers = ()
    release_money: Callable[[str], None] = _nothing
    user: str = ""
    _over: bool = field(default=False, init=False)

    def give_back(self) -> None:
        """The request was never begun: all that was taken for it is free."""
        if not self._over:
            self.permit.give_back()
            self.release_money(self.request.request_id)
            self._end()

    def block(self) -> None:
        """The request is refused for what it is: it counts as a use of its limits, and
        all else that was taken for it is free.
        """
        if not self._over:
            self.permit.settle(0, 0)
            self.release_money(self.request.request_id)
            self._end()

    def leave_to_its_end(self) -> None:
        """The request may have begun, and nobody follows it here: what it costs is known,
        and its money free, when its end is read.
        """
        if not self._over:
            self.permit.settle(0, 0)
            self._end()

    def settle(self, prompt: int, completion: int) -> None:
        """The request ended and took so many tokens."""
        if not self._over:
            self.permit.settle(prompt, completion)
            self._end()

    def settle_delivered(self, completion: int, *, begun: bool) -> None:
        """How the request ended is not known, only what was heard of its answer."""
        if not self._over:
            self.permit.settle_delivered(completion, begun=begun)
            self._end()

    def keep(self) -> None:
        """The request goes on elsewhere: what was reserved of limits counts as used."""
        if not self._over:
            self.permit.keep()
            self._end()

    def _end(self) -> None:
        self._over = True
        if self.place is not None:
            self.place.leave()
