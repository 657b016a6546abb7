"""What planted anomalies are found, when, and how often something is told that is none.

    python -m tests.benchmarks.analytics.anomalies [--seeds 6] [--clean-seeds 12]

Series of eight weeks of three sizes; the first two weeks are learnt from only. One
anomaly of each kind is planted in a series of its own in the fifth week. An episode is
right if it was found within a day of what was planted (a drift's within three weeks);
any other one is false. Clean series give the false alarms a week. The thresholds were
set on seeds other than these.
"""

import argparse
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np

from services.analyzer.anomalies.domain.episodes import Episode, anomalies
from services.analyzer.forecast.domain.series import DAY, WEEK, Floats, series_of, slots_of
from tests.benchmarks.analytics.histories import FIRST, Case, approval, counts, generated, office, water_flow
from tests.benchmarks.analytics.joint import print_joint

_HOURS = 8 * WEEK
_SIZES = (("2 an hour", 2.0, 20.0), ("50 an hour", 50.0, 20.0), ("2000 an hour", 2000.0, 50.0))
_AROUND = DAY
Plant = Callable[[Floats, int], Floats]


@dataclass
class Tally:
    """Of one kind and size."""

    planted: int = 0
    found: int = 0
    false: int = 0
    delays: list[int] = field(default_factory=list)

    def cell(self) -> str:
        """Recall, precision, median delay."""
        told = self.found + self.false
        precision = f"{self.found / told:.2f}" if told else "-"
        delay = f"{np.median(self.delays):.0f} h" if self.delays else "-"
        return f"{self.found / self.planted:.2f}, {precision}, {delay}"


def _factor(factor: float, hours: int) -> Plant:
    def plant(mean: Floats, at: int) -> Floats:
        changed = mean.copy()
        changed[at : at + hours] *= factor
        return changed

    return plant


def _drift(factor: float, days: int) -> Plant:
    def plant(mean: Floats, at: int) -> Floats:
        ramp = np.clip((np.arange(len(mean)) - at) / (days * DAY), 0, 1)
        return mean * factor**ramp

    return plant


PLANTS: dict[str, tuple[Plant, int]] = {
    "spike: × 3 for 2 h": (_factor(3, 2), 2),
    "dip: × 0.3 for 4 h": (_factor(0.3, 4), 4),
    "silence for 8 h": (_factor(0, 8), 8),
    "new level: × 1.6": (_factor(1.6, _HOURS), 48),
    "new level: × 0.5": (_factor(0.5, _HOURS), 48),
    "drift: × 2 in 10 days": (_drift(2.0, 10), 21 * DAY),
}


def main() -> None:
    """Prints all tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=6)
    parser.add_argument("--clean-seeds", type=int, default=12)
    arguments = parser.parse_args()
    print("recall, precision, median delay (hours from its begin until it could be told)\n")
    print(f"| planted | {' | '.join(name for name, _, _ in _SIZES)} |\n|-|{'-|' * len(_SIZES)}")
    for kind in (*PLANTS, "error share: 1 % to 4 % for 3 h"):
        cells = [_measured(kind, mean, scatter, arguments.seeds).cell() for _, mean, scatter in _SIZES]
        print(f"| {kind} | {' | '.join(cells)} |", flush=True)
    print("\nfalse alarms a week on series with nothing planted (episodes, by kind)\n")
    print("| series | weeks judged | episodes | a week | kinds |\n|-|-|-|-|-|")
    for name, weeks, found in _clean(arguments.clean_seeds):
        kinds = ", ".join(sorted({f"{one.kind} {one.side}" for one in found}))
        print(f"| {name} | {weeks:.0f} | {len(found)} | {len(found) / weeks:.2f} | {kinds} |", flush=True)
    print()
    print_joint(arguments.seeds)


def _measured(kind: str, mean: float, scatter: float, seeds: int) -> Tally:
    tally = Tally()
    for seed in range(seeds):
        chance = np.random.default_rng(5000 + seed)
        slots = slots_of(FIRST, _HOURS, "UTC")
        usual = mean * office(slots)
        at = int(chance.integers(4 * WEEK, 5 * WEEK)) // DAY * DAY + int(chance.integers(9, 17))
        if kind in PLANTS:
            plant, lasts = PLANTS[kind]
            values = counts(chance, plant(usual, at), scatter)
            found = anomalies(series_of("requests", values, first_hour=FIRST))
        else:
            requests, lasts = counts(chance, usual, scatter), 3
            share = np.full(_HOURS, 0.01)
            share[at : at + lasts] = 0.04
            failed = chance.binomial(requests.astype(int), share).astype(float)
            found = anomalies(series_of("errors", failed, first_hour=FIRST), exposure=requests)
        _tally(tally, found, FIRST + at, lasts)
    return tally


def _tally(tally: Tally, found: tuple[Episode, ...], begin: int, lasts: int) -> None:
    until = begin + lasts + _AROUND
    right = [one for one in found if begin <= one.found <= until and one.first <= until]
    tally.planted += 1
    tally.found += bool(right)
    tally.false += len(found) - len(right)
    if right:
        tally.delays.append(min(one.found for one in right) - begin)


def _clean(seeds: int) -> Iterator[tuple[str, float, list[Episode]]]:
    by_name: dict[str, list[Case]] = defaultdict(list)
    for seed in range(seeds):
        chance = np.random.default_rng(6000 + seed)
        for name, mean, scatter in _SIZES:
            values = counts(chance, mean * office(slots_of(FIRST, _HOURS, "UTC")), scatter)
            by_name[f"office hours, {name}"].append(Case(name, values))
    for seed in range(max(1, seeds // 4)):
        for case in generated(8000 + seed):
            if case.name in _CLEAN_KINDS:
                by_name[case.name].append(case)
    for name, cases in by_name.items():
        yield name, *_judged(cases)
    for case in (water_flow(), approval()):
        yield case.name, *_judged([case])


_CLEAN_KINDS = (
    "growing a tenth a week",
    "time of day alone",
    "a wandering level",
    "batch jobs at their hours",
    "cost, lognormal",
    "few: 0.2 an hour",
    "few, in bursts of 20",
    "a tenth and 40 hours on end unknown",
    "always 7",
)


def _judged(cases: list[Case]) -> tuple[float, list[Episode]]:
    weeks, found = 0.0, []
    for case in cases:
        series = series_of(case.name, case.values, first_hour=case.first_hour, kind=case.kind, zone=case.zone)
        found += anomalies(series)
        weeks += (len(series) - 2 * WEEK) / WEEK
    return weeks, found


if __name__ == "__main__":
    main()
