"""What capacity advice needs to know of requests, from what was measured of them."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

LEAST_REQUESTS = 200
LEAST_MINUTES = 60
MOST_DOUBT = 0.25
MOST_VARIATION = 25.0
_ONE_SIDED = 1.645
_WINDOW = 5


@dataclass(frozen=True, slots=True)
class Refused:
    """No advice, and why: what is missing and what would mend it."""

    reason: str


@dataclass(frozen=True, slots=True)
class Service:
    """How long requests hold a slot: mean, the upper bound of the mean (one-sided 95 %),
    the squared coefficient of variation, of how many.
    """

    mean_s: float
    upper_s: float
    variation: float
    requests: int


def service_of(held_s: Floats) -> Service | Refused:
    """From the seconds for which requests held a slot."""
    given = np.asarray(held_s, dtype=np.float64).ravel()
    usable = given[np.isfinite(given) & (given > 0) & (given < 86_400)]
    if len(usable) < LEAST_REQUESTS:
        return Refused(f"{len(usable)} requests were measured; {LEAST_REQUESTS} are needed")
    mean, deviation = float(np.mean(usable)), float(np.std(usable, ddof=1))
    upper = mean + _ONE_SIDED * deviation / math.sqrt(len(usable))
    variation = (deviation / mean) ** 2
    if upper > (1 + MOST_DOUBT) * mean or variation > MOST_VARIATION:
        return Refused(
            f"service times scatter too much to be told from {len(usable)} requests: the mean may be "
            f"{upper / mean - 1:.0%} higher, the squared coefficient of variation is {variation:.1f}; "
            "measure more requests, or each class of them apart"
        )
    return Service(mean, upper, variation, len(usable))


def service_of_tokens(
    tokens: Floats, tokens_per_s: Floats, *, before_first_s: Floats | None = None
) -> Service | Refused:
    """From each request's answer in tokens, the speed of its slot while others were
    taken too, and the seconds before its first token. Arrays of one length.

    Raises:
        ValueError: the lengths differ.
    """
    first = np.zeros(len(tokens)) if before_first_s is None else before_first_s
    if not len(tokens) == len(tokens_per_s) == len(first):
        raise ValueError(f"{len(tokens)} tokens, {len(tokens_per_s)} speeds, {len(first)} first tokens")
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        held = np.asarray(tokens, dtype=np.float64) / np.asarray(tokens_per_s, dtype=np.float64)
        return service_of(held + first)


def burstiness_of(per_minute: Floats) -> float | Refused:
    """ca² of arrivals from their counts by the minute: variance over mean of five minutes'
    counts (the index of dispersion; Cox, Lewis: The Statistical Analysis of Series of
    Events, 1966, section 4.5), the change from each to the next taken, so that the hour
    of the day has no part in it. 1 is Poisson; never told to be less.
    """
    given = np.asarray(per_minute, dtype=np.float64).ravel()
    if (
        np.any(~np.isfinite(given) | (given < 0))
        or len(given) < LEAST_MINUTES
        or np.sum(given) < LEAST_REQUESTS
    ):
        return Refused(
            f"{len(given)} minutes with {np.nansum(given):g} requests do not tell how they come; "
            f"{LEAST_MINUTES} minutes with {LEAST_REQUESTS} are needed"
        )
    whole = len(given) // _WINDOW * _WINDOW
    counts = given[:whole].reshape(-1, _WINDOW).sum(axis=1)
    steps = np.diff(counts)
    return max(1.0, float(np.mean(steps**2) / 2 / np.mean(counts)))
