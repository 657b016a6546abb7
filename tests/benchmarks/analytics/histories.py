"""Series by the hour with a known structure, and public ones that a package ships."""

import csv
import gzip
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from importlib.resources import files

import numpy as np

from services.analyzer.forecast.domain.series import DAY, WEEK, Floats, Kind, slots_of

FIRST = 20_900 * DAY  # 23 March 2027, before clocks change in Europe


@dataclass(frozen=True)
class Case:
    """A series whole; the benchmark decides what of it is history."""

    name: str
    values: Floats
    kind: Kind = "count"
    first_hour: int = FIRST
    zone: str = "UTC"
    history: int = 6 * WEEK


def office(slots: np.ndarray, swing: float = 0.8) -> Floats:
    """Working days and hours; multiplicative."""
    day = 1 + swing * np.sin(2 * np.pi * (slots % DAY - 8) / DAY)
    return day * np.where(slots // DAY >= 5, 1 - 0.7 * swing, 1.0)


def counts(chance: np.random.Generator, mean: Floats, scatter: float) -> Floats:
    """Negative binomial: a Poisson of a Gamma rate."""
    return chance.poisson(chance.gamma(scatter, np.maximum(mean, 1e-9) / scatter)).astype(float)


def generated(seed: int, hours: int = 8 * WEEK) -> Iterator[Case]:
    """One of each kind."""
    chance = np.random.default_rng(seed)
    place = np.arange(hours)
    slots = slots_of(FIRST, hours, "UTC")
    usual = office(slots)
    yield Case("office hours, 4 an hour", counts(chance, 4 * usual, 5))
    yield Case("office hours, 200 an hour", counts(chance, 200 * usual, 40))
    yield Case("growing a tenth a week", counts(chance, 100 * usual * 1.1 ** (place / WEEK), 30))
    yield Case(
        "doubled two days before the first forecast",
        counts(chance, 100 * usual * (1 + (place >= hours - 2 * WEEK - 2 * DAY)), 30),
    )
    yield Case("time of day alone", counts(chance, 80 * (1 + 0.7 * np.sin(2 * np.pi * place / DAY)), 20))
    wander = np.zeros(hours)
    for one in range(1, hours):
        wander[one] = 0.97 * wander[one - 1] + 0.08 * chance.normal()
    yield Case("a wandering level", counts(chance, 100 * office(slots, 0.5) * np.exp(wander), 50))
    nightly = (
        30
        + 60 * (slots % DAY == 2)
        + 300 * (slots == 4 * DAY + 3)
        + 40 * np.isin(slots // DAY, (1, 3)) * (slots % DAY > 18)
    )
    yield Case("batch jobs at their hours", counts(chance, nightly.astype(float), 30))
    yield Case("cost, lognormal", 2 * usual * np.exp(0.3 * chance.normal(size=hours)), kind="amount")
    yield Case("few: 0.2 an hour", counts(chance, np.full(hours, 0.2), 3))
    yield Case(
        "few, in bursts of 20",
        np.where(chance.random(hours) < 0.01, chance.poisson(20, hours), 0).astype(float),
    )
    burst = counts(chance, 200 * usual, 40)
    for one in chance.integers(0, hours - 3 * WEEK, 8):
        burst[one : one + 4] *= 5
    burst[hours - 4 * WEEK : hours - 4 * WEEK + 9] = 0
    yield Case("incidents in the history", burst)
    gaps = counts(chance, 50 * usual, 20)
    gaps[chance.random(hours) < 0.1] = np.nan
    gaps[hours // 2 : hours // 2 + 40] = np.nan
    yield Case("a tenth and 40 hours on end unknown", gaps)
    early = FIRST - 3 * WEEK  # two days of summer time are known when the forecasts begin
    local = counts(chance, 100 * office(slots_of(early, hours, "Europe/Paris"), 0.95), 40)[: 6 * WEEK]
    for zone in ("Europe/Paris", "UTC"):
        yield Case(f"clocks change, forecast in {zone}", local, "count", early, zone, 4 * WEEK)
    yield Case("36 hours of history", counts(chance, 50 * usual, 20), history=36)
    yield Case("5 days of history", counts(chance, 50 * usual, 20), history=5 * DAY)
    yield Case("10 days of history", counts(chance, 50 * usual, 20), history=10 * DAY)
    yield Case("a random walk", np.maximum(0, 500 + np.cumsum(chance.normal(0, 10, hours))), kind="amount")
    yield Case("always 7", np.full(hours, 7.0))


def water_flow() -> Case:
    """River's WaterFlow: litres a second through a pipe, by the hour, March to May 2022,
    with gaps, and drops when it was cleaned.
    """
    text = (files("river.datasets") / "water-flow.csv").read_text()
    rows = [(datetime.fromisoformat(one["Time"]), one) for one in csv.DictReader(text.splitlines())]
    hours = [int(at.timestamp() // 3600) for at, _ in rows]
    values = np.full(hours[-1] - hours[0] + 1, np.nan)
    for hour, (_, row) in zip(hours, rows, strict=True):
        values[hour - hours[0]] = float(next(row[name] for name in row if name != "Time"))
    return Case("WaterFlow (river), hourly", values, "amount", hours[0], "Europe/Rome", 4 * WEEK)


def approval() -> Case:
    """River's TrumpApproval: 1,001 days, read as hours: no season is to be found."""
    raw = gzip.decompress((files("river.datasets") / "trump_approval.csv.gz").read_bytes()).decode()
    values = [float(row["five_thirty_eight"]) for row in csv.DictReader(raw.splitlines())]
    return Case("TrumpApproval (river), days as hours", np.array(values), "amount", FIRST, "UTC", 4 * WEEK)
