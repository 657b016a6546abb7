"""What is remembered of the past, bounded in entries and in bytes."""

from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, NamedTuple, TypeVar

from schemas.inference import Delivered, End, RequestFinished
from services.inference.domain.replicas import AttemptKey

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")

_ENDS = 65_536
_TEXTS = 4096
_TEXT_BYTES = 32 * 1024 * 1024
_EARLY_TEXT_BYTES = 16 * 1024 * 1024


class Memory(Generic[Key, Value]):
    """The newest entries; the oldest go where there are too many or too large ones.

    `size_of` gives an entry's bytes, roughly.
    """

    def __init__(
        self, entries: int, size_bytes: int = 0, size_of: Callable[[Value], int] | None = None
    ) -> None:
        self._entries, self._limit_bytes, self._size_of = entries, size_bytes, size_of
        self._held: OrderedDict[Key, tuple[Value, int]] = OrderedDict()
        self.size_bytes = 0

    def remember(self, key: Key, value: Value) -> None:
        """Notes an entry, in place of an older one of its key."""
        held = self._held
        if key in held:
            self.pop(key)
        size_bytes = 0 if self._size_of is None else self._size_of(value)
        held[key] = value, size_bytes
        self.size_bytes += size_bytes
        while len(held) > self._entries or self.size_bytes > self._limit_bytes > 0:
            _, (_, freed_bytes) = held.popitem(last=False)
            self.size_bytes -= freed_bytes

    def get(self, key: Key) -> Value | None:
        """The entry, if it is remembered."""
        held = self._held.get(key)
        return None if held is None else held[0]

    def pop(self, key: Key) -> Value | None:
        """Forgets the entry, and gives it."""
        held = self._held.pop(key, None)
        if held is None:
            return None
        self.size_bytes -= held[1]
        return held[0]

    def __contains__(self, key: object) -> bool:
        return key in self._held

    def __len__(self) -> int:
        return len(self._held)


class EndMemory:
    """How requests ended: for long that they did, for a while with which text."""

    def __init__(self) -> None:
        self._ends: Memory[str, End] = Memory(_ENDS)
        self._texts: Memory[str, tuple[Delivered, ...]] = Memory(_TEXTS, _TEXT_BYTES, text_bytes)

    def remember(self, request_id: str, end: End, choices: tuple[Delivered, ...]) -> None:
        """Notes a request's end."""
        self._ends.remember(request_id, end)
        if choices:
            self._texts.remember(request_id, choices)

    def get(self, request_id: str) -> tuple[End, tuple[Delivered, ...]] | None:
        """The end and the text as far as it is at hand; None where no end is known."""
        end = self._ends.get(request_id)
        return None if end is None else (end, self._texts.get(request_id) or ())

    def __contains__(self, request_id: object) -> bool:
        return request_id in self._ends


class PendingEnd(NamedTuple):
    """A request's end, decided before its record was at hand; `told_attempt` is the
    attempt that the reply names, None for the current one.
    """

    end: End
    told_attempt: int | None = None


class EarlyReports:
    """What was heard of requests whose records are still to be read."""

    def __init__(self) -> None:
        self.finished: Memory[AttemptKey, RequestFinished] = Memory(
            _TEXTS, _EARLY_TEXT_BYTES, lambda finished: text_bytes(finished.choices)
        )
        self.pending_ends: Memory[str, PendingEnd] = Memory(_ENDS)


def text_bytes(choices: tuple[Delivered, ...]) -> int:
    """At most so many bytes of memory do these texts take, four a character."""
    size_bytes = 0
    for choice in choices:
        size_bytes += 4 * len(choice.text) + 200
    return size_bytes
