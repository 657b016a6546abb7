"""Reads one partition of `inference.replies` and hands each record to the reply streams
of its request.
"""

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass, field

from schemas.inference import REPLY, AnyReply
from schemas.topics import REPLIES
from services.common.bus import MessageReader, ReadProgress, Record, Start, Tail
from services.common.clock import MonotonicClock, monotonic_s
from services.common.pauses import PauseDetector
from services.gateway.bus.monitor import BusMonitor
from services.gateway.streams.reply_stream import ReplyStream

_POLL_S = 1.0
_HELD_POLL_S = 0.05
_IDLE_S = 60.0


@dataclass
class ReplyReader:
    """Follows one partition from its end on.

    Records of requests that nobody here follows are passed over unread, by their key.
    """

    url: str = field(repr=False)
    name: str
    partition: int = 0
    clock: MonotonicClock = monotonic_s
    pauses: PauseDetector = field(default_factory=PauseDetector)
    progress: ReadProgress = field(default_factory=ReadProgress, init=False)
    tail: Tail = field(init=False)
    messages: "MessageReader[AnyReply]" = field(
        default_factory=lambda: MessageReader(REPLY, REPLIES.name), init=False
    )
    idle_since: float = field(default=0.0, init=False)
    _held: bool = field(default=False, init=False)
    _reply_streams: dict[bytes, list[ReplyStream]] = field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        self.tail = Tail(self.url, self.name, topic=REPLIES.name)

    async def start(self) -> None:
        """Connects; what is written from here on will be heard.

        Raises:
            BusUnavailableError: no broker, or no such topic.
        """
        await self.tail.start([self.partition], Start.END)
        self.progress.advance(await self.tail.position(REPLIES.name, self.partition))
        self.idle_since = self.clock()

    def add(self, reply_stream: ReplyStream) -> None:
        """Lets a reply stream hear its request's records."""
        self._reply_streams.setdefault(reply_stream.key, []).append(reply_stream)

    def remove(self, reply_stream: ReplyStream) -> None:
        """Lets it hear no more; removing it again changes nothing."""
        here = self._reply_streams.get(reply_stream.key, [])
        if reply_stream in here:
            here.remove(reply_stream)
        if not here:
            self._reply_streams.pop(reply_stream.key, None)
        if not self._reply_streams:
            self.idle_since = self.clock()

    @property
    def idle(self) -> bool:
        """Whether nobody has listened here for a minute."""
        return not self._reply_streams and self.clock() - self.idle_since > _IDLE_S

    async def run(self, *, until_idle: bool = False) -> None:
        """Reads, until cancelled or, if asked, until idle."""
        while not (until_idle and self.idle):
            records = await self.tail.poll(_HELD_POLL_S if self._held else _POLL_S)
            behind = self.pauses.woke_at(self.clock()) > self.progress.current_at
            for record in records:
                reply_streams = self._reply_streams.get(record.key)
                if reply_streams:
                    self._hand_over(record, tuple(reply_streams), behind=behind)
            if records:
                self.progress.advance(records[-1].offset + 1)
            elif self.progress.pending:
                self.progress.advance(await self.tail.position(REPLIES.name, self.partition))
            self._let_act(held=behind)

    async def close(self) -> None:
        """Disconnects."""
        await self.tail.close()

    def _let_act(self, *, held: bool) -> None:
        """Lets those who were held while this reader was behind act, once it is not."""
        if self.pauses.woke_at(self.clock()) > self.progress.current_at:
            self._held = self._held or held
        elif self._held or held:
            self._held = False
            for reply_stream in [one for some in self._reply_streams.values() for one in some]:
                reply_stream.catch_up()

    def _hand_over(self, record: Record, reply_streams: Iterable[ReplyStream], *, behind: bool) -> None:
        heard = self.messages.read(record)
        if heard is not None:
            now = self.clock()
            for reply_stream in reply_streams:
                reply_stream.hear(
                    record.offset, heard, now, size_bytes=len(record.value or b""), behind=behind
                )


@dataclass
class ReaderPool:
    """This gateway's own reader, and those of other gateways' partitions while clients
    of theirs have reattached here.
    """

    own: ReplyReader
    bus_monitor: BusMonitor
    _others: "dict[int, asyncio.Task[ReplyReader]]" = field(default_factory=dict, init=False)
    _tasks: asyncio.TaskGroup | None = field(default=None, init=False)

    async def run(self) -> None:
        """Runs every reader, until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            self._tasks = tasks
            self.bus_monitor.watch(self.own)
            await self.own.run()

    async def reader_of(self, partition: int) -> ReplyReader:
        """The reader of a partition, started if need be.

        Raises:
            BusUnavailableError: the partition cannot be read now.
        """
        if partition == self.own.partition:
            return self.own
        starting = self._others.get(partition)
        if starting is None or (
            starting.done() and (starting.cancelled() or starting.exception() is not None)
        ):
            starting = self._others[partition] = asyncio.create_task(self._open(partition))
        elif starting.done():
            starting.result().idle_since = self.own.clock()
        return await asyncio.shield(starting)

    async def _open(self, partition: int) -> ReplyReader:
        reader = ReplyReader(
            self.own.url, f"{self.own.name}-{partition}", partition, self.own.clock, self.own.pauses
        )
        try:
            await reader.start()
        except BaseException:
            await reader.close()
            raise
        self.bus_monitor.watch(reader)
        if self._tasks is not None:
            self._tasks.create_task(self._run_other(reader))
        return reader

    async def _run_other(self, reader: ReplyReader) -> None:
        try:
            await reader.run(until_idle=True)
        finally:
            self._others.pop(reader.partition, None)
            self.bus_monitor.unwatch(reader)
            await reader.close()
