"""Whose time comes when: requests by the second of their deadline, so that one costs
the same to watch and to forget however many there are.
"""

import heapq
from datetime import datetime


class Deadlines:
    """Requests with a moment each at which they are named once."""

    def __init__(self) -> None:
        self._seconds: list[int] = []
        self._of_second: dict[int, dict[str, datetime]] = {}
        self._second_of: dict[str, int] = {}

    def watch(self, request_id: str, at: datetime) -> None:
        """Names the request at this moment, instead of an earlier told one."""
        self.forget(request_id)
        second = int(at.timestamp())
        ids = self._of_second.get(second)
        if ids is None:
            ids = self._of_second[second] = {}
            heapq.heappush(self._seconds, second)
        ids[request_id] = at
        self._second_of[request_id] = second

    def forget(self, request_id: str) -> None:
        """Names it no more."""
        second = self._second_of.pop(request_id, None)
        if second is not None:
            del self._of_second[second][request_id]

    def due(self, now: datetime) -> list[str]:
        """The requests whose moment has come, once each."""
        found: list[str] = []
        present = int(now.timestamp())
        while self._seconds and self._seconds[0] <= present:
            ids = self._of_second[self._seconds[0]]
            come = [one for one, at in ids.items() if at <= now]
            for one in come:
                del ids[one], self._second_of[one]
            found += come
            if self._seconds[0] == present and ids:
                break
            del self._of_second[heapq.heappop(self._seconds)]
        return found

    def __len__(self) -> int:
        return len(self._second_of)
