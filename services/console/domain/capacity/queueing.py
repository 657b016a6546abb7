"""How long requests wait for one of several slots: G/G/c by Allen and Cunneen.

The mean wait is that of M/M/c (Erlang's C) times (ca² + cs²) / 2, where ca² and cs² are
the squared coefficients of variation of times between arrivals and of service times
(Allen: Probability, Statistics and Queueing Theory, 2nd edition, 1990, section 5.2.3).
Of those who wait, waits are taken as exponential, which holds exactly for M/M/c and in
heavy traffic for all (Kingman 1962; Köllerström 1974). Arrivals in bursts make more of
them wait than Erlang's C has it: Hayward's approximation takes slots and load by their
peakedness z = (ca² + 1) / 2 (Fredericks: Congestion in blocking systems, Bell System
Technical Journal 59, 1980), with which the chance rose to what simulations have. How far
all of it is off is measured by `python -m tests.benchmarks.analytics.capacity`.
"""

import math
from dataclasses import dataclass


def erlang_c(slots: int, offered: float) -> float:
    """The chance of having to wait, of an offered load in slots (arrivals a second times
    service seconds); 1 where the load is not less than the slots. By Erlang's B, which
    is computed without large numbers: 1 / B(n) = 1 + n / offered / B(n - 1).

    Raises:
        ValueError: there is no slot, or the load is negative or no number.
    """
    if slots < 1 or not offered >= 0:
        raise ValueError(f"{slots} slots and a load of {offered} make no queue")
    if offered >= slots:
        return 1.0
    blocked = 1.0
    for one in range(1, slots + 1):
        blocked = offered * blocked / (one + offered * blocked)
    return blocked / (1 - offered / slots * (1 - blocked))


@dataclass(frozen=True, slots=True)
class Demand:
    """What comes: requests a second, the mean seconds for which one holds a slot, ca²
    (`burstiness`, 1: Poisson) and cs² (`spread`, 0: all alike).
    """

    arrivals_per_s: float
    service_s: float
    burstiness: float = 1.0
    spread: float = 1.0

    @property
    def offered(self) -> float:
        """The load in slots."""
        return self.arrivals_per_s * self.service_s


def chance_of_waiting(slots: int, demand: Demand) -> float:
    """Erlang's C by Hayward, between whole numbers of slots interpolated.

    Raises:
        ValueError: as `erlang_c`.
    """
    peakedness = max(1.0, (demand.burstiness + 1) / 2)
    if peakedness == 1.0:
        return erlang_c(slots, demand.offered)
    scaled, load = slots / peakedness, demand.offered / peakedness
    below = int(scaled)
    fewer = erlang_c(below, load) if below else 1.0
    return fewer + (scaled - below) * (erlang_c(below + 1, load) - fewer)


def wait_s(slots: int, demand: Demand, *, share: float = 0.95) -> float:
    """The wait that this share of requests does not exceed; endless where the slots do
    not suffice.

    Raises:
        ValueError: as `erlang_c`.
    """
    waiting = chance_of_waiting(slots, demand)
    if demand.offered >= slots:
        return math.inf
    if waiting <= 1 - share:
        return 0.0
    variation = (demand.burstiness + demand.spread) / 2
    mean_of_waiting = variation * demand.service_s / (slots - demand.offered)
    return mean_of_waiting * math.log(waiting / (1 - share))


def slots_for(demand: Demand, *, target_s: float, most: int) -> int | None:
    """The fewest slots with which 95 % wait at most `target_s`; None where `most` do not
    suffice. By bisection: more slots never wait longer.
    """
    least, enough = 1, max(1, most)
    if wait_s(enough, demand) > target_s:
        return None
    while least < enough:
        middle = (least + enough) // 2
        if wait_s(middle, demand) <= target_s:
            enough = middle
        else:
            least = middle + 1
    return least
