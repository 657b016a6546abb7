"""A queue of several slots, simulated: first come, first served."""

import heapq

import numpy as np

from services.analyzer.forecast.domain.series import Floats


def waits(arrivals_s: Floats, service_s: Floats, slots: int) -> Floats:
    """How long each request waits (Kiefer, Wolfowitz 1955: the slot that is free first)."""
    free = [0.0] * slots
    found = np.empty(len(arrivals_s))
    for place, (at, held) in enumerate(zip(arrivals_s.tolist(), service_s.tolist(), strict=True)):
        begin = max(at, free[0])
        heapq.heapreplace(free, begin + held)
        found[place] = begin - at
    return found


def services(chance: np.random.Generator, count: int, variation: float, mean: float = 1.0) -> Floats:
    """Service times of a squared coefficient of variation: fixed, Gamma up to 1, lognormal
    beyond.
    """
    if variation == 0:
        return np.full(count, mean)
    if variation <= 1:
        return chance.gamma(1 / variation, mean * variation, count)
    spread = np.log(1 + variation)
    return chance.lognormal(np.log(mean) - spread / 2, np.sqrt(spread), count)


def arrivals(chance: np.random.Generator, count: int, rate: float, burstiness: float) -> Floats:
    """Poisson at 1; beyond in batches of a geometric size, whose index of dispersion is
    2 × mean size - 1.
    """
    if burstiness <= 1:
        return np.cumsum(chance.exponential(1 / rate, count))
    size = (burstiness + 1) / 2
    sizes = chance.geometric(1 / size, count)
    times = np.cumsum(chance.exponential(size / rate, count))
    return np.repeat(times, sizes)[:count]


def p95(
    slots: int, load: float, burstiness: float, variation: float, *, seed: int, count: int = 60_000
) -> float:
    """The simulated wait in service times, the first tenth left out."""
    chance = np.random.default_rng(seed)
    at = arrivals(chance, count, load * slots, burstiness)
    found = waits(at, services(chance, count, variation), slots)
    return float(np.quantile(found[count // 10 :], 0.95))
