"""Log-outs as every console knows them: from the topic's beginning at the start, then as
they come.
"""

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime

import structlog

from schemas.events.sessions import SessionEnded
from schemas.topics import SESSIONS
from services.common.bus import MessageReader, Outgoing, Record, Start, Tail
from services.common.clock import Clock
from services.console.identity.sessions import EndedSessions, Session, session_digest

log = structlog.get_logger(__name__)

Send = Callable[[Outgoing], Awaitable[object]]


@dataclass
class LogOuts:
    """Ends sessions at all consoles. No session is good before `caught_up`: it may have
    been ended before this process began.
    """

    url: str = field(repr=False)
    name: str
    send: Send
    clock: Clock
    ended: EndedSessions
    caught_up: bool = field(default=False, init=False)
    _tail: Tail = field(init=False)
    _messages: "MessageReader[SessionEnded]" = field(
        default_factory=lambda: MessageReader(SESSIONS.model, SESSIONS.name), init=False
    )

    def __post_init__(self) -> None:
        self._tail = Tail(self.url, f"{self.name}-sessions", topic=SESSIONS.name)

    async def start(self) -> None:
        """Connects, and reads what there is.

        Raises:
            BusUnavailableError: no broker, or no topic, or it took too long.
        """
        await self._tail.start([0], Start.BEGINNING)
        async for records in self._tail.read_to_end():
            self._take(records)
        self.caught_up = True

    async def run(self) -> None:
        """Follows the other consoles' log-outs, until cancelled."""
        while True:
            self._take(await self._tail.poll())

    async def end(self, session: Session, *, tenant: str) -> None:
        """Logs a session out, here and at every other console.

        Raises:
            BusUnavailableError: Kafka did not take it; the session is still good.
        """
        said = SessionEnded(
            session_digest=session_digest(session),
            key_id=session.key_id,
            began_at=datetime.fromtimestamp(session.began_at, UTC),
            ended_at=self.clock(),
        )
        await self.send(
            Outgoing(SESSIONS.name, said, session.key_id, tenant, key=session.key_id, partition=0)
        )
        self._end(said)
        log.info("session_ended", key_id=session.key_id)

    def has(self, session: Session) -> bool:
        """Whether it was logged out, anywhere."""
        return self.ended.has(session)

    async def close(self) -> None:
        """Disconnects."""
        await self._tail.close()

    def _take(self, records: Iterable[Record]) -> None:
        for record in records:
            said = self._messages.read(record)
            if said is not None:
                self._end(said)

    def _end(self, said: SessionEnded) -> None:
        self.ended.end(
            said.key_id,
            said.session_digest,
            began_at=int(said.began_at.timestamp()),
            ended_at=int(said.ended_at.timestamp()),
            now_s=self.clock().timestamp(),
        )
