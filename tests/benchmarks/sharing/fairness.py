"""What a dispatcher does with a long queue: how long a newcomer waits behind a flood,
what is held in memory, how large the commit's metadata gets, what a request costs.

Pure, without a broker: the domain's own classes, fed in a loop. Compared are
- `window`: one window of a thousand records a lane, as it was before;
- `read-ahead`: the lane is read on, of each tenant so many records are held;
- `partitions`: a lane of several partitions by the tenant's hash, a window in each.

    python -m tests.benchmarks.sharing.fairness [--flood 20000] [--out fairness.json]
"""

import argparse
import json
import statistics
import time
import tracemalloc
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from zlib import crc32

from schemas.inference import (
    Delivered,
    End,
    InferenceRequested,
    LogPosition,
    Outcome,
    ReplicaBeat,
    RequestFinished,
)
from services.common.requests.pricing import UNKNOWN
from services.inference.domain.dispatch import Assign, Dispatch, DispatchRules, Moment, Takeover
from services.inference.domain.dispatch.rules import ReadAhead
from services.inference.domain.offsets import OffsetTracker
from tests.support.inference.dispatch_world import START, request

_WINDOW = 1000
_SLOTS = 16
_EVERY_NEWCOMER = 40


class Lane:
    """A lane's log, and a dispatcher that reads and serves it in steps."""

    def __init__(self, log: list[InferenceRequested], read_ahead: ReadAhead, *, window: bool) -> None:
        self.log, self.window, self.read_to, self.now_s = log, window, 0, 10.0
        rules = DispatchRules(model="m", price_at=lambda _: UNKNOWN, read_ahead=read_ahead)
        self.dispatch = Dispatch(rules, {"lane": OffsetTracker(0)}, Takeover({}, 0.0))
        self.running: list[tuple[str, int]] = []
        self.served: list[str] = []
        self.longest_map = 0
        self.act(self.dispatch.on_beat(_beat(), self.now(), live=True))
        self.act(self.dispatch.on_tick(self.now()))

    def now(self) -> Moment:
        """The time, which stands still between steps."""
        return Moment(START + timedelta(seconds=self.now_s), self.now_s)

    def read(self) -> None:
        """As far as there is room."""
        tracker = self.dispatch.trackers["lane"]
        while self.read_to < len(self.log):
            if (self.window and tracker.unfinished >= _WINDOW) or not self.dispatch.has_room("lane"):
                return
            position = LogPosition(topic="lane", partition=0, offset=self.read_to)
            self.act(self.dispatch.on_request(self.log[self.read_to], position, self.now(), size_bytes=2000))
            self.read_to += 1

    def load(self) -> None:
        """What was left in the log and is wanted."""
        for offset in self.dispatch.waiting.backlogs["lane"].wanted():
            position = LogPosition(topic="lane", partition=0, offset=offset)
            self.act(self.dispatch.on_deferred(self.log[offset], position, self.now()))

    def step(self) -> bool:
        """The first running request ends; False when nothing is left."""
        self.read()
        self.load()
        if not self.running:
            return False
        request_id, attempt = self.running.pop(0)
        self.served.append(request_id)
        finished = RequestFinished(
            replica_id="m#1",
            model="m",
            request_id=request_id,
            attempt=attempt,
            end=End(outcome=Outcome.COMPLETED),
            choices=(Delivered(text="answer", tokens=1),),
        )
        self.act(self.dispatch.on_finished(finished, self.now()))
        if len(self.served) % 40 == 0:
            self.longest_map = max(self.longest_map, len(self.dispatch.trackers["lane"].commit_point()[1]))
            self.dispatch.completions.take()
        return True

    def act(self, actions: list) -> None:  # type: ignore[type-arg]
        """Notes what was assigned."""
        self.running += [
            (action.request.request_id, action.request.attempt)
            for action in actions
            if isinstance(action, Assign)
        ]


def _beat() -> ReplicaBeat:
    return ReplicaBeat(replica_id="m#1", model="m", host="h", pid=1, inbox=0, inbox_position=0, slots=_SLOTS)


def flood_with_newcomers(flood: int) -> list[InferenceRequested]:
    """One tenant's flood, and every fortieth request another tenant's."""
    return [
        request(at, tenant=f"new{at % 7}" if at % _EVERY_NEWCOMER == _EVERY_NEWCOMER - 1 else "flood")
        for at in range(flood)
    ]


def measure(
    log: list[InferenceRequested], make: Callable[[list[InferenceRequested]], list[Lane]]
) -> dict[str, float]:
    """Serves a log to its end: places of the newcomers in the order of service, memory,
    metadata, CPU.
    """
    tracemalloc.start()
    lanes = make(log)
    for lane in lanes:
        lane.read()
    held_mb = tracemalloc.get_traced_memory()[0] / 2**20
    tracemalloc.stop()
    began_s, order = time.process_time(), []
    alive = list(lanes)
    while alive:
        still = []
        for lane in alive:
            if lane.step():
                order.append(lane.served[-1])
                still.append(lane)
        alive = still
    cpu_s = time.process_time() - began_s
    newcomers = {one.request_id for one in log if one.tenant != "flood"}
    places = [at for at, request_id in enumerate(order) if request_id in newcomers]
    assert len(order) == len(log)
    return {
        "newcomer_place_median": statistics.median(places),
        "newcomer_place_max": max(places),
        "held_mb": round(held_mb, 1),
        "longest_metadata_chars": max(lane.longest_map for lane in lanes),
        "cpu_us_a_request": round(cpu_s / len(log) * 1e6, 1),
    }


def partitioned(log: list[InferenceRequested], partitions: int) -> list[Lane]:
    """A lane's log by the hash of the tenant."""
    parts: list[list[InferenceRequested]] = [[] for _ in range(partitions)]
    for one in log:
        parts[crc32(one.tenant.encode()) % partitions].append(one)
    everything = ReadAhead(per_tenant=10**9, per_lane=10**9, lane_bytes=10**12)
    return [Lane(part, everything, window=True) for part in parts if part]


def main() -> None:
    """Prints a line for each way and length."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--flood", type=int, nargs="*", default=[200, 5_000, 20_000])
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    everything = ReadAhead(per_tenant=10**9, per_lane=10**9, lane_bytes=10**12)
    ways: dict[str, Callable[[list[InferenceRequested]], list[Lane]]] = {
        "window": lambda log: [Lane(log, everything, window=True)],
        "read-ahead": lambda log: [Lane(log, ReadAhead(), window=False)],
        "partitions 4": lambda log: partitioned(log, 4),
        "partitions 16": lambda log: partitioned(log, 16),
    }
    found = {}
    for flood in arguments.flood:
        log = flood_with_newcomers(flood)
        for name, make in ways.items():
            found[f"{name}, {flood}"] = measure(log, make)
            print(f"{name:14} {flood:6} {json.dumps(found[f'{name}, {flood}'])}")
    if arguments.out:
        arguments.out.write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
