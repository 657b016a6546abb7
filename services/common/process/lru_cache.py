"""A bounded memory that forgets what was not asked for longest."""

from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Generic, TypeVar

Key = TypeVar("Key")
Value = TypeVar("Value")


@dataclass
class LruCache(Generic[Key, Value]):
    """The `capacity` values that were put or asked for last. `functools.lru_cache` is for
    results of functions; here the caller decides what is kept. A value is never None.
    """

    capacity: int
    _values: "OrderedDict[Key, Value]" = field(default_factory=OrderedDict, init=False)

    def __len__(self) -> int:
        return len(self._values)

    def get(self, key: Key) -> Value | None:
        """What was put; None where it was not, or is forgotten."""
        found = self._values.get(key)
        if found is not None:
            self._values.move_to_end(key)
        return found

    def put(self, key: Key, value: Value) -> None:
        """Keeps a value, and forgets another where there are too many."""
        self._values[key] = value
        self._values.move_to_end(key)
        if len(self._values) > self.capacity:
            self._values.popitem(last=False)
