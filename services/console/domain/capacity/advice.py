"""What a forecast takes: slots, replicas, accelerators, and what each option costs."""

import math
from dataclasses import dataclass
from decimal import Decimal
from typing import Literal

from services.console.domain.capacity.measurements import Refused, Service
from services.console.domain.capacity.queueing import Demand, slots_for, wait_s

Plan = Literal["present", "fixed", "by_hour"]
Bound = Literal["median", "high80", "high95"]
_MOST_SLOTS = 20_000


@dataclass(frozen=True, slots=True)
class ExpectedRequests:
    """What a forecast says of an hour (since 1970)."""

    hour: int
    median: float
    high80: float
    high95: float


@dataclass(frozen=True, slots=True)
class Load:
    """A forecast of requests by the hour; none where there is no `expected`: `notes` say
    why.
    """

    name: str
    expected: tuple[ExpectedRequests, ...]
    beats_baseline: bool = True
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Replica:
    """One replica: its slots, its accelerators, what an hour of it costs."""

    slots: int
    accelerators: int
    cost_per_hour_usd: Decimal


@dataclass(frozen=True, slots=True)
class Goal:
    """95 % of requests wait at most `wait_s` in the busiest hour as `bound` has it: with
    high80 it is exceeded in one of ten such hours, with high95 in one of forty.
    """

    wait_s: float
    bound: Bound = "high80"


@dataclass(frozen=True, slots=True)
class Option:
    """`replicas` of each hour; waits and utilisation are of the worst hour. Utilisation
    over 1 means that the queue grows without end, and the wait is endless.
    """

    name: Plan
    replicas: tuple[int, ...]
    slots: int
    accelerators: int
    wait_p95_s: float
    utilisation: float
    hours_missed: int
    cost_usd: Decimal


@dataclass(frozen=True, slots=True)
class Advice:
    """The options over the forecast's hours; `basis` are the figures that they rest on."""

    name: str
    goal: Goal
    service: Service
    burstiness: float
    peak_hour: int
    peak_requests: float
    options: tuple[Option, ...]
    notes: tuple[str, ...] = ()


def advise(
    load: Load,
    *,
    service: Service | Refused,
    burstiness: float | Refused,
    replica: Replica,
    present: int,
    goal: Goal,
) -> Advice | Refused:
    """What serves the forecast of requests (by the hour) within the goal: the replicas as
    they are (`present`), as many as the busiest hour takes, and by the hour.

    Raises:
        ValueError: the goal, the replica or the present number make no sense.
    """
    _check(replica, present, goal)
    if isinstance(service, Refused):
        return service
    if isinstance(burstiness, Refused):
        return burstiness
    if not load.expected:
        return Refused(f"there is no forecast of {load.name}: {'; '.join(load.notes)}")
    requests = [float(getattr(one, goal.bound)) for one in load.expected]
    hours = [Demand(one / 3600, service.upper_s, burstiness, service.variation) for one in requests]
    needed = [_replicas(one, replica, goal) for one in hours]
    if None in needed:
        return Refused(
            f"more than {_MOST_SLOTS} slots would be needed for {max(requests):g} requests an hour"
        )
    by_hour = [one for one in needed if one is not None]
    plans: dict[Plan, list[int]] = {
        "present": [present] * len(hours),
        "fixed": [max(by_hour)] * len(hours),
        "by_hour": by_hour,
    }
    peak = max(range(len(requests)), key=requests.__getitem__)
    return Advice(
        load.name,
        goal,
        service,
        burstiness,
        load.expected[peak].hour,
        requests[peak],
        tuple([_option(name, plan, hours, replica, goal) for name, plan in plans.items()]),
        _notes(load, service),
    )


def _replicas(demand: Demand, replica: Replica, goal: Goal) -> int | None:
    """At least one: a model without replicas answers nobody who comes unexpected."""
    slots = slots_for(demand, target_s=goal.wait_s, most=_MOST_SLOTS)
    return None if slots is None else math.ceil(slots / replica.slots)


def _option(name: Plan, replicas: list[int], hours: list[Demand], replica: Replica, goal: Goal) -> Option:
    waits = [_wait_s(count * replica.slots, one) for count, one in zip(replicas, hours, strict=True)]
    loads = [
        one.offered / (count * replica.slots) if count else (math.inf if one.offered else 0.0)
        for count, one in zip(replicas, hours, strict=True)
    ]
    most = max(replicas)
    return Option(
        name,
        tuple(replicas),
        most * replica.slots,
        most * replica.accelerators,
        max(waits),
        max(loads),
        sum(one > goal.wait_s for one in waits),
        sum(replicas) * replica.cost_per_hour_usd,
    )


def _wait_s(slots: int, demand: Demand) -> float:
    if slots:
        return wait_s(slots, demand)
    return math.inf if demand.offered else 0.0


def _check(replica: Replica, present: int, goal: Goal) -> None:
    if not (math.isfinite(goal.wait_s) and goal.wait_s >= 0):
        raise ValueError(f"the wait to be held is {goal.wait_s} s; give a number of seconds, 0 or more")
    if replica.slots < 1 or replica.accelerators < 0 or replica.cost_per_hour_usd < 0 or present < 0:
        raise ValueError(
            f"{present} replicas as {replica} cannot be; slots are 1 or more, the rest 0 or more"
        )


def _notes(load: Load, service: Service) -> tuple[str, ...]:
    said = [
        (not load.beats_baseline, "the forecast is the naive one"),
        (service.variation > 4, "service times scatter widely: waits are approximate, see the table"),
        (True, "by_hour takes replicas to start within the hour before"),
    ]
    return (*[text for applies, text in said if applies], *load.notes)
