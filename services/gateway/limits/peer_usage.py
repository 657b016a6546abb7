"""What this gateway tells the others of its use of limits, and what they hold. Pure.

A name is anything that gateways share: a limit, a budget. What is *held* is an amount as
it now stands, and counts while its gateway lives; what was *used* adds up at each who
hears of it. Each record says up to where its gateway has read the others', so that each
knows what all the others know of it.
"""

from collections import OrderedDict, deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import NamedTuple, TypeVar

from schemas.events.gateways.limits import MAX_NAMES, LimitShares

Item = TypeVar("Item")

DEAD_AFTER_S = 3.0
LEASE_S = 2.0
"""So long after it built a record that came back to it, a gateway may rely on not being
taken for dead: less than `DEAD_AFTER_S`, which for the others begins later.
"""
REPEAT_S = 20.0
"""Within this everything that is held is told again."""
_MAX_NAMES = 65_536
"""Names that one gateway may hold or use: more are passed over."""
_SILENCE_S = 1.5
"""This gateway's own records come back once a second, if the bus is there."""
_UNTOLD = 2**63
"""Up to where a gateway of an older version has read, which does not tell it: nobody
waits for it.
"""
_MAX_SENT = 4096
"""Own records that are remembered until they came back, and until the others have read
them: of more, the newest, which tell as much.
"""


@dataclass(slots=True)
class _Peer:
    incarnation: str
    heard_s: float
    held: dict[str, float] = field(default_factory=dict)
    read_to: int = -1
    ends_read: Mapping[int, int] | None = None


class _Sent(NamedTuple):
    """An own record that has not come back yet; `whole`: with those before it, it tells
    all that is held.
    """

    serial: int
    built_s: float
    whole: bool


@dataclass
class PeerUsage:
    """Own amounts and those of the other gateways.

    What is held is in the unit of what the name stands for: tokens or streams of a limit,
    dollars of a budget. What is used is in seconds of a limit's period, of whatever limit.
    Time is the monotonic clock's. A peer counts no more once others, this gateway
    included, were heard for `DEAD_AFTER_S` without it: while the bus is away nobody is
    heard, and nobody is taken for dead.

    `ends_read` is what this gateway tells of the ends that it counted. `complete_from_s`
    is the moment from which it knows what the others hold.
    """

    gateway_id: str
    incarnation: str
    passed_over: int = 0
    ends_read: Mapping[int, int] | None = None
    complete_from_s: float = float("-inf")
    wants_answer: bool = False
    """The next record asks the others to tell soon what they have read."""
    owes_answer: bool = field(default=False, init=False)
    """Another gateway waits for the next record."""
    _held: dict[str, float] = field(default_factory=dict, init=False)
    _told: "OrderedDict[str, tuple[float, float]]" = field(default_factory=OrderedDict, init=False)
    """What the others know of this gateway: amount and when it was told."""
    _changed: dict[str, None] = field(default_factory=dict, init=False)
    _used: dict[str, float] = field(default_factory=dict, init=False)
    _peers: dict[str, _Peer] = field(default_factory=dict, init=False)
    _heard_s: float = field(default=float("-inf"), init=False)
    _serial: int = field(default=0, init=False)
    _read_to: int = field(default=-1, init=False)
    _unread: bool = field(default=False, init=False)
    """Whether others wait, if with patience, to hear that their record was read."""
    _ends_told: Mapping[int, int] | None = field(default=None, init=False)
    _sent: deque[_Sent] = field(default_factory=lambda: deque(maxlen=_MAX_SENT), init=False)
    _returned: deque[tuple[int, int]] = field(default_factory=lambda: deque(maxlen=_MAX_SENT), init=False)
    """Own whole records that not all others have read: serial and offset."""
    _known_serial: int = field(default=0, init=False)
    _lease_end_s: float = field(default=float("-inf"), init=False)
    _lease_offset: int = field(default=0, init=False)
    """Where the own record lies that came back first since this gateway may have been
    taken for dead.
    """
    _polled_s: float | None = field(default=None, init=False)

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
        return len(self._live_peers)

    def peers(self, now_s: float) -> int | None:
        """How many other gateways are alive; None for as long as one may be that knows
        nothing of this one or takes it for dead, or of which this one knows nothing.
        """
        if not self.complete_from_s <= now_s < self._lease_end_s:
            return None
        live = self._live_peers
        return len(live) if all(peer.read_to >= self._lease_offset for peer in live) else None

    @property
    def next_serial(self) -> int:
        """The number of the record that tells what is held now."""
        return self._serial + 1

    @property
    def known_serial(self) -> int:
        """All other live gateways have read the own records up to this one; and what each
        held before it read it is known here.
        """
        return self._known_serial

    def have_counted(self, partition: int, offset: int) -> bool | None:
        """Whether all other live gateways have counted the end that lies there; None
        where one does not tell what it counts.
        """
        live = self._live_peers
        if any(peer.ends_read is None for peer in live):
            return None
        return all(peer.ends_read.get(partition, -1) > offset for peer in live if peer.ends_read is not None)

    @property
    def has_news(self) -> bool:
        """Whether there is something to tell."""
        return bool(
            self._changed
            or self._used
            or self._unread
            or self.wants_answer
            or self.owes_answer
            or self._ends_told != self.ends_read
        )

    def take(self, now_s: float) -> LimitShares:
        """The next record: what changed, and what was told longest ago. What does not
        fit stays for the one after. Whether the former one arrived is to be known.
        """
        used = dict(_first(self._used.items(), MAX_NAMES))
        for name in used:
            del self._used[name]
        held = {name: self._held.get(name, 0.0) for name in _first(self._changed, MAX_NAMES)}
        for name in held:
            del self._changed[name]
        for name, (_, told_s) in list(_first(self._told.items(), MAX_NAMES - len(held))):
            if told_s > now_s - REPEAT_S:
                break
            held.setdefault(name, self._held.get(name, 0.0))
        for name, amount in held.items():
            self._told.pop(name, None)
            if amount:
                self._told[name] = amount, now_s
        return self._record(used, held, now_s)

    def requeue(self, record: LimitShares) -> None:
        """A record did not reach the bus: the next one tells it."""
        for name, seconds in record.used.items():
            self.use(name, seconds)
        self._changed.update(dict.fromkeys(record.held))
        self._unread, self._ends_told = True, None
        self.wants_answer |= record.answer_soon

    def final_record(self) -> LimitShares:
        """The last record: what was used, and that nothing is held any more."""
        used, self._used = self._used, {}
        return self._record(dict(_first(used.items(), MAX_NAMES)), {}, 0.0, stopping=True)

    def resume(self, now_s: float) -> None:
        """Records are about to be applied. Where none came for a while, nobody is dead
        because of that.
        """
        silent_s = 0.0 if self._polled_s is None else now_s - self._polled_s
        self._polled_s = now_s
        if silent_s > _SILENCE_S:
            for peer in self._peers.values():
                peer.heard_s += silent_s

    def apply(self, record: LimitShares, heard_s: float, offset: int) -> dict[str, float]:
        """Takes a record of any gateway, in the log's order; gives what another one
        used, a former incarnation of this one too.
        """
        self._heard_s = max(self._heard_s, heard_s)
        self._read_to = offset
        used = record.used
        if record.incarnation == self.incarnation:
            self._note_returned(record.serial or 0, offset, heard_s)
            used = {}
        else:
            self._note_peer(record, heard_s)
        self._note_known()
        return used

    def _note_peer(self, record: LimitShares, heard_s: float) -> None:
        peer = self._peers.get(record.gateway_id)
        if peer is None or peer.incarnation != record.incarnation:
            peer = self._peers[record.gateway_id] = _Peer(record.incarnation, heard_s)
            self.owes_answer = True
        peer.heard_s = heard_s
        for name, amount in record.held.items():
            self._note(peer, name, amount)
        self._unread = self._unread or bool(record.held)
        self.owes_answer = self.owes_answer or record.answer_soon
        peer.ends_read = record.ends_read
        if record.serial is None:
            peer.read_to = _UNTOLD
        elif record.read_to is not None:
            peer.read_to = max(peer.read_to, record.read_to)
        if record.stopping or record.gateway_id == self.gateway_id:
            del self._peers[record.gateway_id]
        self._drop_dead()

    def _note_known(self) -> None:
        through = min((peer.read_to for peer in self._live_peers), default=self._read_to)
        while self._returned and self._returned[0][1] <= through:
            self._known_serial = self._returned.popleft()[0]

    def _record(
        self, used: dict[str, float], held: dict[str, float], now_s: float, *, stopping: bool = False
    ) -> LimitShares:
        self._serial += 1
        whole = not self._changed
        self._sent.append(_Sent(self._serial, now_s, whole))
        asks, self.wants_answer, self.owes_answer, self._unread = self.wants_answer, False, False, False
        self._ends_told = None if self.ends_read is None else dict(self.ends_read)
        return LimitShares(
            gateway_id=self.gateway_id,
            incarnation=self.incarnation,
            used={name: round(seconds, 6) for name, seconds in used.items()},
            held=held,
            stopping=stopping,
            serial=self._serial,
            read_to=self._read_to if whole else None,
            ends_read=self._ends_told,
            answer_soon=asks,
        )

    def _note_returned(self, serial: int, offset: int, heard_s: float) -> None:
        """An own record came back; those before it that did not were lost, and their
        news are in it or in a later one. Once others may have forgotten what is held
        here, all of it is told again.
        """
        sent = None
        while self._sent and self._sent[0].serial <= serial:
            sent = self._sent.popleft()
        if sent is None or sent.serial != serial:
            return
        if heard_s >= self._lease_end_s:
            self._lease_offset = offset
            self._changed.update(dict.fromkeys(self._held))
        self._lease_end_s = sent.built_s + LEASE_S
        if sent.whole:
            self._returned.append((serial, offset))

    def _note(self, peer: _Peer, name: str, amount: float) -> None:
        if not amount > 0:
            peer.held.pop(name, None)
        elif name in peer.held or len(peer.held) < _MAX_NAMES:
            peer.held[name] = amount
        else:
            self.passed_over += 1

    @property
    def _live_peers(self) -> list[_Peer]:
        return [peer for peer in self._peers.values() if self._is_alive(peer)]

    def _is_alive(self, peer: _Peer) -> bool:
        return self._heard_s - peer.heard_s <= DEAD_AFTER_S

    def _drop_dead(self) -> None:
        """Forgets the dead; one that comes back tells again what it holds within
        `REPEAT_S`.
        """
        dead = [name for name, peer in self._peers.items() if self._heard_s - peer.heard_s > 2 * REPEAT_S]
        for name in dead:
            del self._peers[name]


def _first(items: Iterable[Item], count: int) -> list[Item]:
    return list(islice(items, count))
