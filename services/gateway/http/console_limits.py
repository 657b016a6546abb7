"""Limits on concurrent requests and buffered bytes to the console."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field

from starlette.types import Message, Receive

from schemas.errors import ErrorCode
from services.common.http.problems import Problem, ProblemError, retry_after, unavailable

_NO_MEMORY = Problem(
    503,
    ErrorCode.OVERLOADED,
    "The bodies of other requests to the console fill the gateway's memory. Try again.",
    headers=(*retry_after(1), ("connection", "close")),
)


@dataclass
class ConcurrencyLimit:
    """So many at once in all, and so many of one client."""

    what: str
    at_once: int
    per_client: int
    _by_client: dict[str, int] = field(default_factory=dict, init=False)
    _taken: int = field(default=0, init=False)

    @contextlib.contextmanager
    def acquire(self, client: str) -> Iterator[None]:
        """Takes a slot for as long as the block lasts. The client's first word says what
        it is: an address, a tenant.

        Raises:
            ProblemError: 503, all are taken; 429, this client has its share.
        """
        if self._taken >= self.at_once:
            raise unavailable(f"{self.at_once} {self.what}. Try again.", code=ErrorCode.OVERLOADED)
        if self._by_client.get(client, 0) >= self.per_client:
            raise ProblemError(
                Problem(
                    429,
                    ErrorCode.RATE_LIMIT_EXCEEDED,
                    f"{self.per_client} {self.what} from this {client.partition(' ')[0]}. Try again.",
                    headers=retry_after(1),
                )
            )
        self._taken += 1
        self._by_client[client] = self._by_client.get(client, 0) + 1
        try:
            yield
        finally:
            self._taken -= 1
            self._by_client[client] -= 1
            if not self._by_client[client]:
                del self._by_client[client]


@dataclass
class BodyMemory:
    """Counts the bytes of bodies that are held, from their coming until they were passed
    on; of one body at most `most_each`, beyond which it is thrown away as it comes.
    """

    max_bytes: int
    most_each: int
    held: int = field(default=0, init=False)

    @contextlib.contextmanager
    def counted(self, receive: Receive) -> Iterator[Receive]:
        """Lets a body be received; its bytes count for as long as the block lasts.

        The receiving raises a ProblemError, 503, where there is no room for more.
        """
        mine = 0

        async def counting() -> Message:
            nonlocal mine
            message = await receive()
            size = min(len(message.get("body", b"")), self.most_each - mine)
            if self.held + size > self.max_bytes:
                raise ProblemError(_NO_MEMORY)
            mine += size
            self.held += size
            return message

        try:
            yield counting
        finally:
            self.held -= mine
