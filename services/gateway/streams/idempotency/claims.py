"""Which claim holds an idempotency key. Pure: every gateway that reads the log comes to
the same.
"""

from collections import OrderedDict, deque
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from schemas.events.gateways.idempotency import AnyKeyEvent, KeyClaimed, KeySettled

KEPT_MS = 24 * 3600 * 1000
"""So long a key holds, by the broker's clock."""


@dataclass(frozen=True, slots=True)
class Claim:
    """The claim that holds a key. `answered_at_ms` is set once it is answered; the
    answer is kept where it has an `answer_id`.
    """

    claim_id: str
    body_digest: str
    request_ids: tuple[str, ...]
    at_ms: int
    tenant: str
    answered_at_ms: int | None = None
    answer_id: str = ""


@dataclass
class Claims:
    """The keys of the last day, at most `capacity` of them: beyond that the oldest of
    the tenant that has most is forgotten, so that nobody's flood costs others theirs.
    """

    capacity: int
    forgotten: int = 0
    _held: dict[str, Claim] = field(default_factory=dict, init=False)
    _of_tenant: "dict[str, OrderedDict[str, None]]" = field(default_factory=dict, init=False)
    _by_age: "deque[tuple[int, str, str]]" = field(default_factory=deque, init=False)
    """When each was claimed, its digest and claim; may name what is held no more."""

    def __len__(self) -> int:
        return len(self._held)

    @property
    def held(self) -> Sequence[Claim]:
        """All that hold a key."""
        return list(self._held.values())

    def find(self, digest: str, now_ms: int) -> Claim | None:
        """The claim that holds a key now."""
        claim = self._held.get(digest)
        return claim if claim is not None and now_ms - claim.at_ms < KEPT_MS else None

    def take(self, event: AnyKeyEvent, at_ms: int) -> None:
        """The next event of the log, appended at `at_ms`."""
        held = self.find(event.digest, at_ms)
        if isinstance(event, KeyClaimed):
            if held is None or (event.replaces == held.claim_id and held.answered_at_ms is None):
                self._hold(event, at_ms)
        elif held is not None and held.claim_id == event.claim_id and held.answered_at_ms is None:
            if isinstance(event, KeySettled):
                answered = replace(held, answered_at_ms=at_ms, answer_id=event.answer_id)
                self._held[event.digest] = answered
            else:
                self._drop(event.digest)
        self._forget(at_ms)

    def _hold(self, event: KeyClaimed, at_ms: int) -> None:
        self._drop(event.digest)
        self._held[event.digest] = Claim(
            event.claim_id, event.body_digest, event.request_ids, at_ms, event.tenant
        )
        self._of_tenant.setdefault(event.tenant, OrderedDict())[event.digest] = None
        self._by_age.append((at_ms, event.digest, event.claim_id))

    def _drop(self, digest: str) -> None:
        claim = self._held.pop(digest, None)
        if claim is None:
            return
        digests = self._of_tenant[claim.tenant]
        del digests[digest]
        if not digests:
            del self._of_tenant[claim.tenant]

    def _forget(self, now_ms: int) -> None:
        while self._by_age and now_ms - self._by_age[0][0] >= KEPT_MS:
            _, digest, claim_id = self._by_age.popleft()
            if self._holds(digest, claim_id):
                self._drop(digest)
        while len(self._held) > self.capacity:
            largest = max(self._of_tenant.values(), key=len)
            self._drop(next(iter(largest)))
            self.forgotten += 1
        if len(self._by_age) > 2 * self.capacity:
            self._by_age = deque(one for one in self._by_age if self._holds(one[1], one[2]))

    def _holds(self, digest: str, claim_id: str) -> bool:
        held = self._held.get(digest)
        return held is not None and held.claim_id == claim_id
