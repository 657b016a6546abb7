"""The requests of one model that have not ended."""

from collections.abc import Iterable

from schemas.base import Running
from services.inference.domain.dispatch.tracked import Tracked


class RequestTable(dict[str, Tracked]):
    """The requests that have not ended, by id: a dict, for the price of a look-up."""

    def __init__(self) -> None:
        super().__init__()
        self._retrying: dict[str, Tracked] = {}

    def await_retry(self, tracked: Tracked) -> None:
        """A request's next attempt was asked for."""
        self._retrying[tracked.request_id] = tracked

    def note_attempt(self, request_id: str) -> None:
        """An attempt was read: none is waited for."""
        self._retrying.pop(request_id, None)

    def note_tokens(self, running: Iterable[Running]) -> None:
        """A replica says how far its attempts are."""
        for one in running:
            tracked = self.get(one.request_id)
            if tracked is not None and tracked.attempt == one.attempt:
                tracked.note_tokens(generated=one.tokens, prompt=one.prompt_tokens)

    def unanswered(self, now_s: float, after_s: float) -> list[Tracked]:
        """The requests whose next attempt did not come within `after_s`."""
        return [one for one in self._retrying.values() if now_s - one.since_s > after_s]

    def remove(self, tracked: Tracked) -> None:
        """A request has ended."""
        del self[tracked.request_id]
        self._retrying.pop(tracked.request_id, None)
