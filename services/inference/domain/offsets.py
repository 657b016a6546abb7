"""Which records of a lane are done, when they end out of order.

Kafka commits one offset a partition: everything before it is done. Requests end in any
order, so the commit's metadata carries the rest: from the committed offset on, run
lengths of pending and finished records in turn (the technique of Confluent's parallel
consumer, "offset map encoding").
"""

import base64
from collections.abc import Iterable, Iterator
from typing import Self

MAX_METADATA_CHARS = 4096
"""Kafka's default offset.metadata.max.bytes."""

MAX_UNFINISHED = 1000
"""With so few pending records their map fits: at most 1000 runs of 1 + 2 bytes before
base64, unless runs of finished records pass 16,383.
"""

_PREFIX = "r1:"


class OffsetMapTooLongError(ValueError):
    """The pending records lie too far apart to be described in a commit's metadata; it
    fits again once some of them end.
    """


class OffsetTracker:
    """The pending records of one partition, in log order.

    Offsets are dense: lanes are never written in transactions.
    """

    def __init__(self, committed: int, pending: Iterable[int] = (), next_offset: int | None = None) -> None:
        self._next = committed if next_offset is None else next_offset
        self._pending = dict.fromkeys(pending)

    @classmethod
    def restore(cls, committed: int, metadata: str) -> Self:
        """The tracker as a commit described it: what it calls pending will be read
        again.

        Raises:
            ValueError: the metadata is not one of ours.
        """
        pending: list[int] = []
        position, is_pending = committed, True
        for run in _decode(metadata):
            if is_pending:
                pending.extend(range(position, position + run))
            position += run
            is_pending = not is_pending
        return cls(committed, pending, position)

    @property
    def unfinished(self) -> int:
        """How many records are known and not finished."""
        return len(self._pending)

    @property
    def next_offset(self) -> int:
        """The offset after the last record that is known."""
        return self._next

    def read(self, offset: int) -> bool:
        """Notes that a record was read; False if it is done already and nothing must
        happen.
        """
        if offset < self._next:
            return offset in self._pending
        self._next = offset + 1
        self._pending[offset] = None
        return True

    def finish(self, offset: int) -> None:
        """The record had its one effect."""
        self._pending.pop(offset, None)

    def is_finished(self, offset: int) -> bool:
        """Whether the record had its effect."""
        return offset < self._next and offset not in self._pending

    def forget_before(self, offset: int) -> int:
        """Drops what the log no longer holds, and says how many records that were."""
        gone = [one for one in self._pending if one < offset]
        for one in gone:
            del self._pending[one]
        self._next = max(self._next, offset)
        return len(gone)

    def commit_point(self) -> tuple[int, str]:
        """The offset to commit and its metadata.

        Raises:
            OffsetMapTooLongError: the map does not fit into Kafka's metadata.
        """
        lowest = next(iter(self._pending), None)
        if lowest is None:
            return self._next, ""
        metadata = _encode(self._runs(lowest))
        if len(metadata) > MAX_METADATA_CHARS:
            raise OffsetMapTooLongError(
                f"{len(self._pending)} pending records from {lowest} to {self._next} take {len(metadata)} "
                "characters of metadata"
            )
        return lowest, metadata

    def _runs(self, lowest: int) -> Iterator[int]:
        """Run lengths from `lowest`: pending, finished, pending, …, always ending with
        a finished one.
        """
        start = expected = lowest
        for offset in self._pending:
            if offset != expected:
                yield expected - start
                yield offset - expected
                start = offset
            expected = offset + 1
        if expected < self._next:
            yield expected - start
            yield self._next - expected


def _encode(runs: Iterator[int]) -> str:
    encoded = bytearray()
    for run in runs:
        rest = run
        while rest > 0x7F:
            encoded.append(rest & 0x7F | 0x80)
            rest >>= 7
        encoded.append(rest)
    return _PREFIX + base64.b64encode(encoded).decode() if encoded else ""


def _decode(metadata: str) -> Iterator[int]:
    if not metadata:
        return
    if not metadata.startswith(_PREFIX):
        raise ValueError(
            f"the commit's metadata {metadata[:20]!r} is not a map of finished offsets; was this group "
            "used by something else?"
        )
    value = shift = 0
    for byte in base64.b64decode(metadata.removeprefix(_PREFIX)):
        value |= (byte & 0x7F) << shift
        shift += 7
        if not byte & 0x80:
            yield value
            value = shift = 0
