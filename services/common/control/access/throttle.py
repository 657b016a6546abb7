"""Slows down who keeps guessing. Pure; time is an argument.

A secret has 256 bits, so guessing is hopeless anyway; this shows it in the answers and
the metrics. What is good is let in however slow its address or its key id is, since
many people may share an address, and anybody may send wrong secrets for a key's id. So
everything is looked at, at the same cost, and every wrong secret counts: also one that
comes too soon, and whatever good ones come in between.
"""

from collections import OrderedDict
from dataclasses import dataclass, field


@dataclass
class FailureThrottle:
    """Counts failures by name.

    After `free` of them a name is slowed, twice as long each time, up to `longest_s`;
    after `forget_s` without one it begins anew. Remembers the latest `capacity` names
    that failed.
    """

    free: int = 5
    longest_s: float = 60.0
    forget_s: float = 900.0
    capacity: int = 4096
    _failures: "OrderedDict[str, tuple[int, float]]" = field(default_factory=OrderedDict, init=False)

    def wait_s(self, name: str, now_s: float) -> float:
        """Seconds for which this name is slowed; 0 where it is not."""
        count, last_s = self._failures.get(name, (0, now_s))
        if count < self.free or now_s - last_s >= self.forget_s:
            return 0.0
        pause_s = min(2.0 ** min(count - self.free, 30), self.longest_s)
        return max(0.0, last_s + pause_s - now_s)

    def failed(self, name: str, now_s: float) -> None:
        """Counts a failure."""
        count, last_s = self._failures.pop(name, (0, now_s))
        if now_s - last_s >= self.forget_s:
            count = 0
        self._failures[name] = (count + 1, now_s)
        while len(self._failures) > self.capacity:
            self._failures.popitem(last=False)


@dataclass
class GuessThrottle:
    """Counts guesses by the address that they come from and by the key that they are
    for, whether or not there is such a key.
    """

    by_address: FailureThrottle = field(default_factory=FailureThrottle)
    by_key: FailureThrottle = field(default_factory=FailureThrottle)

    def guessed(self, *, address: str, key_id: str, now_s: float) -> float:
        """Counts a guess; seconds for which whoever guesses is to wait, 0 for none.

        `key_id` is empty where the guess names no key.
        """
        wait_s = self.by_address.wait_s(address, now_s)
        self.by_address.failed(address, now_s)
        if key_id:
            wait_s = max(wait_s, self.by_key.wait_s(key_id, now_s))
            self.by_key.failed(key_id, now_s)
        return wait_s
