"""privacy.erasures: every erasure as it stands, the same at each console."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field

import structlog

from schemas.events.audit import ErasedPlace, SubjectErasure
from schemas.topics import ERASURES
from services.common.bus import MessageReader, Outgoing, Record, Start, Tail
from services.common.errors import BusUnavailableError

log = structlog.get_logger(__name__)

Send = Callable[[Outgoing], Awaitable[object]]
_READ_TIMEOUT_S = 60.0
_STATES = ("requested", "erased", "complete")


@dataclass
class ErasureLog:
    """Follows the erasures. At most `capacity` are known: of more the oldest that are
    complete are forgotten here, which is logged.
    """

    url: str = field(repr=False)
    name: str
    send: Send
    capacity: int = 20_000
    connect_timeout_s: float = 60.0
    caught_up: bool = field(default=False, init=False)
    heard_s: dict[str, float] = field(default_factory=dict, init=False)
    """When each was last told of (monotonic)."""
    changed: asyncio.Event = field(default_factory=asyncio.Event, init=False)
    _tail: Tail = field(init=False)
    _known: dict[str, SubjectErasure] = field(default_factory=dict, init=False)
    _messages: "MessageReader[SubjectErasure]" = field(
        default_factory=lambda: MessageReader(ERASURES.model, ERASURES.name), init=False
    )

    def __post_init__(self) -> None:
        self._tail = Tail(
            self.url,
            f"{self.name}-erasures",
            topic=ERASURES.name,
            connect_timeout_s=self.connect_timeout_s,
            longest_poll_ms=100,
        )

    @property
    def known(self) -> Mapping[str, SubjectErasure]:
        """Every erasure by its id."""
        return self._known

    async def start(self) -> None:
        """Connects, and reads what there is.

        Raises:
            BusUnavailableError: no broker, or no topic, or it took too long.
        """
        await self._tail.start([0], Start.BEGINNING)
        await self.catch_up()
        self.caught_up = True

    async def catch_up(self) -> None:
        """Reads to the present end. Not while `run` runs.

        Raises:
            BusUnavailableError: it took too long.
        """
        try:
            async with asyncio.timeout(_READ_TIMEOUT_S):
                async for records in self._tail.read_to_end(poll_s=0.05):
                    self.take(records)
        except TimeoutError as error:
            raise BusUnavailableError(f"{ERASURES.name} could not be read within a minute") from error

    async def run(self) -> None:
        """Follows, until cancelled."""
        while True:
            self.take(await self._tail.poll())

    async def close(self) -> None:
        """Disconnects."""
        await self._tail.close()

    async def publish(self, erasure: SubjectErasure) -> SubjectErasure:
        """Tells how an erasure stands, together with what others told of it meanwhile.

        Raises:
            BusUnavailableError: not now.
        """
        told = merged(self._known.get(erasure.erasure_id), erasure)
        await self.send(
            Outgoing(ERASURES.name, told, told.erasure_id, told.tenant, key=told.erasure_id, partition=0)
        )
        self.put(told)
        return told

    def take(self, records: Iterable[Record]) -> None:
        """Takes what was told."""
        for record in records:
            erasure = self._messages.read(record) if record.value is not None else None
            if erasure is not None:
                self.put(merged(self._known.get(erasure.erasure_id), erasure))

    def put(self, erasure: SubjectErasure) -> None:
        """Takes one as it stands."""
        self._known[erasure.erasure_id] = erasure
        self.heard_s[erasure.erasure_id] = time.monotonic()
        self.changed.set()
        if len(self._known) > self.capacity:
            self._forget_oldest()

    def _forget_oldest(self) -> None:
        done = [one for one in self._known.values() if one.state == "complete"]
        for one in sorted(done, key=lambda erasure: erasure.requested_at)[: self.capacity // 10]:
            del self._known[one.erasure_id]
            del self.heard_s[one.erasure_id]
        log.warning("erasures_forgotten", capacity=self.capacity, complete=len(done))


def merged(known: SubjectErasure | None, told: SubjectErasure) -> SubjectErasure:
    """What two records of an erasure say together: two processes may work at it, or one
    and its successor.
    """
    if known is None:
        return told
    places = {one.place: one for one in known.places}
    for one in told.places:
        places[one.place] = _further(places.get(one.place), one)
    first, second = sorted((known, told), key=lambda one: (one.rounds, _STATES.index(one.state)))
    newest = told if (told.rounds, told.state) == (known.rounds, known.state) else second
    return newest.model_copy(
        update={
            "places": tuple(places.values()),
            "erased_at": first.erased_at or second.erased_at,
            "completed_at": first.completed_at or second.completed_at,
        }
    )


def _further(known: ErasedPlace | None, told: ErasedPlace) -> ErasedPlace:
    if known is None:
        return told
    base = told if told.rounds >= known.rounds else known
    return base.model_copy(
        update={"found": max(known.found, told.found), "erased": max(known.erased, told.erased)}
    )
