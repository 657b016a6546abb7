"""Which records of a lane are done, when they end out of order.

Kafka commits one offset a partition: everything before it is done. Requests end in any
order, so the commit's metadata carries the rest, from the committed offset on: run
lengths of pending and finished records in turn, or where that is shorter a bit a record
(the techniques of Confluent's parallel consumer, "offset map encoding").
"""

import base64
from collections.abc import Iterable, Iterator
from typing import Self

MAX_METADATA_CHARS = 4096
"""Kafka's default offset.metadata.max.bytes."""

MAP_BYTES = (MAX_METADATA_CHARS - len("r1:")) // 4 * 3
"""What base64 leaves of it."""

MAX_SPAN = 24_000
"""From the oldest pending record on so many always fit, a bit each."""

MAX_PENDING = 100_000
"""Never more than so many, whatever would fit."""

_RUN_PAIR_BYTES = 5
"""A run of pending and one of finished records, of up to 16,383 and 2,097,151."""

_MARGIN = 200
"""As many records may be read before the question is asked again."""

_RUNS, _BITS = "r1:", "b1:"


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
        self._seen = committed

    @classmethod
    def restore(cls, committed: int, metadata: str) -> Self:
        """The tracker as a commit described it: what it calls pending will be read
        again.

        Raises:
            ValueError: the metadata is not one of ours.
        """
        if metadata.startswith(_BITS):
            bits = _decode_bits(metadata)
            return cls(
                committed, (committed + at for at, bit in enumerate(bits) if bit), committed + len(bits)
            )
        pending: list[int] = []
        position, is_pending = committed, True
        for run in _decode_runs(metadata):
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

    def has_room(self, active: int) -> bool:
        """Whether reading on leaves a map that fits, in whatever order records end: what
        a commit knows already may always be read.

        `active` of the pending may end next; each splits a run at worst.
        """
        pending = len(self._pending)
        if self._seen < self._next:  # known from a commit, and to be read again
            return True
        if pending * _RUN_PAIR_BYTES <= MAP_BYTES - _MARGIN:
            return True
        if pending > MAX_PENDING:
            return False
        lowest = next(iter(self._pending))
        if self._next - lowest <= MAX_SPAN:
            return True
        runs = sum(1 for _ in self._runs(lowest)) // 2 + 1
        return (runs + active) * _RUN_PAIR_BYTES <= MAP_BYTES - _MARGIN

    def read(self, offset: int) -> bool:
        """Notes that a record was read; False if it is done already and nothing must
        happen.
        """
        self._seen = max(self._seen, offset + 1)
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
        self._next, self._seen = max(self._next, offset), max(self._seen, offset)
        return len(gone)

    def commit_point(self) -> tuple[int, str]:
        """The offset to commit and its metadata.

        Raises:
            OffsetMapTooLongError: the map does not fit into Kafka's metadata.
        """
        lowest = next(iter(self._pending), None)
        if lowest is None:
            return self._next, ""
        metadata = _encode_runs(self._runs(lowest))
        if len(metadata) > MAX_METADATA_CHARS and self._next - lowest <= 8 * MAP_BYTES:
            metadata = self._encode_bits(lowest)
        if len(metadata) > MAX_METADATA_CHARS:
            raise OffsetMapTooLongError(
                f"{len(self._pending)} pending records from {lowest} to {self._next} take {len(metadata)} "
                "characters of metadata"
            )
        return lowest, metadata

    def _encode_bits(self, lowest: int) -> str:
        """A bit a record, 1 for pending, with a last 1 behind them all."""
        span = self._next - lowest
        bits = bytearray(span // 8 + 1)
        for offset in self._pending:
            bits[(offset - lowest) >> 3] |= 1 << ((offset - lowest) & 7)
        bits[span >> 3] |= 1 << (span & 7)
        return _BITS + base64.b64encode(bits).decode()

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


def _encode_runs(runs: Iterator[int]) -> str:
    encoded = bytearray()
    for run in runs:
        rest = run
        while rest > 0x7F:
            encoded.append(rest & 0x7F | 0x80)
            rest >>= 7
        encoded.append(rest)
    return _RUNS + base64.b64encode(encoded).decode() if encoded else ""


def _decode_runs(metadata: str) -> Iterator[int]:
    if not metadata:
        return
    if not metadata.startswith(_RUNS):
        raise ValueError(
            f"the commit's metadata {metadata[:20]!r} is not a map of finished offsets; was this group "
            "used by something else?"
        )
    value = shift = 0
    for byte in base64.b64decode(metadata.removeprefix(_RUNS)):
        value |= (byte & 0x7F) << shift
        shift += 7
        if not byte & 0x80:
            yield value
            value = shift = 0


def _decode_bits(metadata: str) -> list[bool]:
    """The bits before the last 1."""
    bits = [
        bool(byte >> at & 1) for byte in base64.b64decode(metadata.removeprefix(_BITS)) for at in range(8)
    ]
    while bits and not bits.pop():
        pass
    return bits
