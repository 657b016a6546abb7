"""Reads one partition of `inference.replies` and hands each record to the reply streams
of its request.
"""

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from schemas.inference import REPLY, AnyReply
from schemas.topics import REPLIES
from services.common.bus import MessageReader, ReadProgress, Record, Start, Tail
from services.common.clock import MonotonicClock, monotonic_s
from services.common.errors import BusUnavailableError
from services.common.process.pauses import PauseDetector
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
    clock: MonotonicClock = monotonic_s
    pauses: PauseDetector = field(default_factory=PauseDetector)
    partition: int = field(default=0, init=False)
    progress: ReadProgress = field(default_factory=ReadProgress, init=False)
    tail: Tail = field(init=False)
    messages: "MessageReader[AnyReply]" = field(
        default_factory=lambda: MessageReader(REPLY, REPLIES.name), init=False
    )
    _idle_since: float = field(default=0.0, init=False)
    _held: bool = field(default=False, init=False)
    _reply_streams: dict[bytes, list[ReplyStream]] = field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        self.tail = Tail(self.url, self.name, topic=REPLIES.name)

    async def start(self, partition: int) -> None:
        """Connects; what is written into the partition from here on will be heard.

        Raises:
            BusUnavailableError: no broker, or no such topic.
        """
        self.partition = partition
        await self.tail.start([partition], Start.END)
        self.progress.advance(await self.tail.position(REPLIES.name, partition))
        self.touch()

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
            self.touch()

    def touch(self) -> None:
        """Somebody asked for it: it counts as idle only a minute from now."""
        self._idle_since = self.clock()

    @property
    def idle(self) -> bool:
        """Whether nobody has listened here for a minute."""
        return not self._reply_streams and self.clock() - self._idle_since > _IDLE_S

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
    make_reader: "Callable[[ReplyReader, int], ReplyReader]" = field(
        default=lambda own, partition: ReplyReader(own.url, f"{own.name}-{partition}", own.clock, own.pauses)
    )
    _others: "dict[int, asyncio.Future[ReplyReader]]" = field(default_factory=dict, init=False)
    _tasks: asyncio.TaskGroup | None = field(default=None, init=False)

    async def run(self) -> None:
        """Runs every reader, until cancelled."""
        async with asyncio.TaskGroup() as self._tasks:
            self.bus_monitor.watch(self.own)
            await self.own.run()

    async def reader_of(self, partition: int) -> ReplyReader:
        """The reader of a partition, started if need be.

        Raises:
            BusUnavailableError: the partition cannot be read now.
        """
        if partition == self.own.partition:
            return self.own
        started = self._others.get(partition)
        if started is None:
            started = self._start_other(partition)
        elif started.done():
            started.result().touch()
        return await asyncio.shield(started)

    def _start_other(self, partition: int) -> "asyncio.Future[ReplyReader]":
        if self._tasks is None:
            raise BusUnavailableError(f"partition {partition} cannot be read: this gateway reads nothing yet")
        started: asyncio.Future[ReplyReader] = asyncio.get_running_loop().create_future()
        running = self._run_other(partition, started)
        try:
            task = self._tasks.create_task(running)
        except RuntimeError as error:  # the group ends
            running.close()
            raise BusUnavailableError(f"partition {partition} cannot be read: {error}") from error
        self._others[partition] = started
        task.add_done_callback(lambda _: self._end_other(partition, started))
        return started

    async def _run_other(self, partition: int, started: "asyncio.Future[ReplyReader]") -> None:
        """One reader's life. It is made in here, so that a task which is cancelled before
        it begins leaves none open.
        """
        reader = self.make_reader(self.own, partition)
        try:
            try:
                await reader.start(partition)
            except Exception as error:  # noqa: BLE001  whatever the driver raises, who asked must hear of it, and nobody else
                failure = BusUnavailableError(f"partition {partition} cannot be read: {error!r}")
                failure.__cause__ = error
                started.set_exception(failure)
                return
            self.bus_monitor.watch(reader)
            try:
                started.set_result(reader)
                await reader.run(until_idle=True)
            finally:
                self._others.pop(partition, None)
                self.bus_monitor.unwatch(reader)
        finally:
            await reader.close()

    def _end_other(self, partition: int, started: "asyncio.Future[ReplyReader]") -> None:
        """Lets nobody wait for a reader whose task has ended."""
        if self._others.get(partition) is started:
            del self._others[partition]
        if not started.done():
            started.set_exception(BusUnavailableError(f"the reader of partition {partition} has ended"))
        started.exception()  # seen, where nobody waits any more
