"""Slows down addresses that keep trying keys. Pure; time is an argument.

A key's secret has 256 bits, so guessing is hopeless anyway; this shows it in the answers
and the metrics. A good key is let in however slow its address is, since many people may
share one. So every key is looked at, at the same cost, and every wrong one counts: also
one that comes too soon, and whatever good ones come in between.
"""

from collections import OrderedDict
from dataclasses import dataclass, field


@dataclass
class LoginThrottle:
    """Counts failures by client.

    After `free` of them a client is slowed, twice as long each time, up to `longest_s`;
    after `forget_s` without one it begins anew. Remembers the latest `capacity` clients
    that failed.
    """

    free: int = 5
    longest_s: float = 60.0
    forget_s: float = 900.0
    capacity: int = 4096
    _failures: "OrderedDict[str, tuple[int, float]]" = field(default_factory=OrderedDict, init=False)

    def wait_s(self, client: str, now_s: float) -> float:
        """Seconds for which this client is slowed; 0 where it is not."""
        count, last_s = self._failures.get(client, (0, now_s))
        if count < self.free or now_s - last_s >= self.forget_s:
            return 0.0
        pause_s = min(2.0 ** min(count - self.free, 30), self.longest_s)
        return max(0.0, last_s + pause_s - now_s)

    def failed(self, client: str, now_s: float) -> None:
        """Counts a failure."""
        count, last_s = self._failures.pop(client, (0, now_s))
        if now_s - last_s >= self.forget_s:
            count = 0
        self._failures[client] = (count + 1, now_s)
        while len(self._failures) > self.capacity:
            self._failures.popitem(last=False)
