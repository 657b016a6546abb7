"""What this gateway tells the others of its use of limits, and what they hold. Pure.

A name is anything that gateways share: a limit, a budget. What is *held* is an amount as
it now stands, and counts while its gateway lives; what was *used* adds up at each who
hears of it.
"""

from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import islice
from typing import TypeVar

from schemas.events.gateways.limits import MAX_NAMES, LimitShares

Item = TypeVar("Item")

DEAD_AFTER_S = 3.0
KNOWN_AFTER_S = 1.0
"""So long after a gateway's first record every other one has heard of it, and has told
what it let in before that.
"""
_REPEAT_S = 20.0
_MAX_NAMES = 65_536
"""Names that one gateway may hold or use: more are passed over."""


@dataclass(slots=True)
class _Peer:
    incarnation: str
    heard_s: float
    held: dict[str, float] = field(default_factory=dict)


@dataclass
class PeerUsage:
    """Own amounts and those of the other gateways.

    What is held is in the unit of what the name stands for: tokens or streams of a limit,
    dollars of a budget. What is used is in seconds of a limit's period, of whatever limit.
    Time is the monotonic clock's. A peer counts no more once others, this gateway
    included, were heard for `DEAD_AFTER_S` without it: while the bus is away nobody is
    heard, and nobody is taken for dead.
    """

    gateway_id: str
    incarnation: str
    passed_over: int = 0
    _held: dict[str, float] = field(default_factory=dict, init=False)
    _told: "OrderedDict[str, tuple[float, float]]" = field(default_factory=OrderedDict, init=False)
    """What the others know of this gateway: amount and when it was told."""
    _changed: dict[str, None] = field(default_factory=dict, init=False)
    _used: dict[str, float] = field(default_factory=dict, init=False)
    _peers: dict[str, _Peer] = field(default_factory=dict, init=False)
    _heard_s: float = field(default=float("-inf"), init=False)
    _met_s: float = field(default=float("inf"), init=False)
    """When this gateway's own first record came back from the bus."""

    def set(self, name: str, amount: float) -> float:
        """This gateway now holds so much; by how much that differs from what the others
        know.
        """
        known = name in self._held
        if amount and not known and max(len(self._held), len(self._changed)) >= _MAX_NAMES:
            self.passed_over += 1
            return 0.0
        if amount:
            self._held[name] = amount
        else:
            self._held.pop(name, None)
        if amount or known:
            self._changed[name] = None
        told = self._told.get(name)
        return abs(amount - (told[0] if told else 0.0))

    def use(self, name: str, seconds: float) -> float:
        """So much more was used here; how much the others do not know yet."""
        if name not in self._used and len(self._used) >= _MAX_NAMES:
            self.passed_over += 1
            return 0.0
        untold = self._used[name] = self._used.get(name, 0.0) + seconds
        return untold

    def give_back_use(self, name: str, seconds: float) -> None:
        """So much was used for nothing. What the others know by now, they keep counting:
        time gives it back.
        """
        untold = self._used.get(name, 0.0) - seconds
        if untold > 0:
            self._used[name] = untold
        else:
            self._used.pop(name, None)

    def held(self, name: str) -> float:
        """What this gateway holds."""
        return self._held.get(name, 0.0)

    def others(self, name: str) -> float:
        """What the other live gateways hold together."""
        total = 0.0
        for peer in self._peers.values():
            if peer.held and self._is_alive(peer):
                total += peer.held.get(name, 0.0)
        return total

    @property
    def live(self) -> int:
        """How many other gateways are alive."""
        return sum(map(self._is_alive, self._peers.values()))

    def peers(self, now_s: float) -> int | None:
        """How many other gateways are alive; None for as long as one may be that knows
        nothing of this one, or of which this one knows nothing.
        """
        return self.live if now_s >= self._met_s + KNOWN_AFTER_S else None

    @property
    def has_news(self) -> bool:
        """Whether there is something to tell."""
        return bool(self._changed or self._used)

    def take(self, now_s: float) -> LimitShares:
        """The next record: what changed, and what was told longest ago. What does not
        fit stays for the one after.
        """
        used = dict(_first(self._used.items(), MAX_NAMES))
        for name in used:
            del self._used[name]
        held = {name: self._held.get(name, 0.0) for name in _first(self._changed, MAX_NAMES)}
        for name in held:
            del self._changed[name]
        for name, (_, told_s) in list(_first(self._told.items(), MAX_NAMES - len(held))):
            if told_s > now_s - _REPEAT_S:
                break
            held.setdefault(name, self._held.get(name, 0.0))
        for name, amount in held.items():
            self._told.pop(name, None)
            if amount:
                self._told[name] = amount, now_s
        return self._record(used, held)

    def requeue(self, record: LimitShares) -> None:
        """A record did not reach the bus: the next one tells it."""
        for name, seconds in record.used.items():
            self.use(name, seconds)
        self._changed.update(dict.fromkeys(record.held))

    def final_record(self) -> LimitShares:
        """The last record: what was used, and that nothing is held any more."""
        used, self._used = self._used, {}
        return self._record(dict(_first(used.items(), MAX_NAMES)), {}, stopping=True)

    def apply(self, record: LimitShares, heard_s: float) -> dict[str, float]:
        """Takes a record of any gateway, in the log's order; gives what another one
        used, a former incarnation of this one too.
        """
        self._heard_s = max(self._heard_s, heard_s)
        if record.incarnation == self.incarnation:
            self._met_s = min(self._met_s, heard_s)
            return {}
        peer = self._peers.get(record.gateway_id)
        if peer is None or peer.incarnation != record.incarnation:
            peer = self._peers[record.gateway_id] = _Peer(record.incarnation, heard_s)
        peer.heard_s = heard_s
        for name, amount in record.held.items():
            self._note(peer, name, amount)
        if record.stopping or record.gateway_id == self.gateway_id:
            del self._peers[record.gateway_id]
        self._drop_dead()
        return record.used

    def _record(
        self, used: dict[str, float], held: dict[str, float], *, stopping: bool = False
    ) -> LimitShares:
        return LimitShares(
            gateway_id=self.gateway_id,
            incarnation=self.incarnation,
            used={name: round(seconds, 6) for name, seconds in used.items()},
            held=held,
            stopping=stopping,
        )

    def _note(self, peer: _Peer, name: str, amount: float) -> None:
        if not amount > 0:
            peer.held.pop(name, None)
        elif name in peer.held or len(peer.held) < _MAX_NAMES:
            peer.held[name] = amount
        else:
            self.passed_over += 1

    def _is_alive(self, peer: _Peer) -> bool:
        return self._heard_s - peer.heard_s <= DEAD_AFTER_S

    def _drop_dead(self) -> None:
        """Forgets the dead; one that comes back tells again what it holds within
        `_REPEAT_S`.
        """
        dead = [name for name, peer in self._peers.items() if self._heard_s - peer.heard_s > 2 * _REPEAT_S]
        for name in dead:
            del self._peers[name]


def _first(items: Iterable[Item], count: int) -> list[Item]:
    return list(islice(items, count))
