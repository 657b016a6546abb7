"""How wrong forecasts are, and whether intervals hold what they say.

    make bench-forecast [OUT=forecast.json]
    python -m tests.benchmarks.analytics.forecast [--seeds 3] [--out forecast.json]

Each series is forecast from several hours on, from what was known then; what came
afterwards was never seen. MASE is the mean absolute error of the forecast over that of
the better of the two seasonal-naive ones (by the day, by the week) **on the same hours**,
chosen with hindsight, which flatters the naive ones.
"""

import argparse
import json
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from services.analyzer.forecast.domain.forecast import Forecast, forecast
from services.analyzer.forecast.domain.series import DAY, WEEK, Floats, series_of
from tests.benchmarks.analytics.histories import Case, approval, generated, water_flow

_ORIGINS = 4


@dataclass
class Tally:
    """What was measured of one kind of series at one horizon."""

    error: float = 0.0
    naive: dict[int, float] = field(default_factory=lambda: {DAY: 0.0, WEEK: 0.0})
    within80: list[float] = field(default_factory=list)
    within95: list[float] = field(default_factory=list)
    methods: Counter[str] = field(default_factory=Counter)

    @property
    def mase(self) -> float:
        """1 where both are perfect."""
        naive = min(self.naive.values())
        return self.error / naive if naive else 1.0 if self.error == 0 else float("inf")

    def add(self, found: Forecast, came: Floats, past: Floats) -> None:
        """One more forecast, held against what came."""
        judged = ~np.isnan(came)
        rows = np.array(
            [(one.median, one.low80, one.high80, one.low95, one.high95) for one in found.expected]
        )
        self.error += float(np.nansum(np.abs(came - rows[:, 0])))
        for period in (DAY, WEEK):
            said = _naive(past, len(came), period)
            self.naive[period] += float(np.nansum(np.abs(came - said)))
        for kept, low, high in ((self.within80, 1, 2), (self.within95, 3, 4)):
            inside = (came >= rows[:, low] - 1e-9) & (came <= rows[:, high] + 1e-9)
            kept.extend(inside[judged].astype(float).tolist())
        self.methods[found.method] += 1


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    started, made = time.process_time(), 0
    tallies: dict[tuple[str, int], Tally] = {}
    for case in _cases(arguments.seeds):
        for hours in (DAY, WEEK):
            for origin in _origins(case, hours):
                made += _try(case, origin, hours, tallies.setdefault((case.name, hours), Tally()))
    rows = _rows(tallies)
    print("| series | MASE 24 h | in 80 % | in 95 % | MASE 7 d | in 80 % | in 95 % | mostly by (24 h) |")
    print("|-|-|-|-|-|-|-|-|")
    for name, cells in rows.items():
        print(f"| {name} | {' | '.join(cells)} |")
    print(f"\n{made} forecasts, {(time.process_time() - started) / made:.2f} CPU-s each")
    if arguments.out:
        arguments.out.write_text(json.dumps(rows, indent=1))


def _cases(seeds: int) -> Iterator[Case]:
    for seed in range(seeds):
        yield from generated(seed)
    yield water_flow()
    yield approval()


def _origins(case: Case, hours: int) -> list[int]:
    """Places from which to forecast, at different hours of the day."""
    last = len(case.values) - hours
    if case.history < 2 * WEEK:
        return [case.history + 311 * one for one in range(_ORIGINS)]
    first = max(case.history, last - 2 * WEEK) if case.history > 2 * WEEK else case.history
    return sorted({int(one) for one in np.linspace(first, last, _ORIGINS)})


def _try(case: Case, origin: int, hours: int, tally: Tally) -> int:
    begin = max(0, origin - case.history)
    past, came = case.values[begin:origin], case.values[origin : origin + hours]
    series = series_of(case.name, past, first_hour=case.first_hour + begin, kind=case.kind, zone=case.zone)
    found = forecast(series, hours)
    if not found.expected:
        return 0
    tally.add(found, came, past)
    return 1


def _naive(past: Floats, hours: int, period: int) -> Floats:
    """The last known value of the same place in the period; of all where there is none."""
    last = np.full(period, np.nanmedian(past))
    known = np.flatnonzero(~np.isnan(past))
    last[known % period] = past[known]
    return last[(len(past) + np.arange(hours)) % period]


def _rows(tallies: dict[tuple[str, int], Tally]) -> dict[str, list[str]]:
    rows: dict[str, list[str]] = {}
    for name in dict.fromkeys(name for name, _ in tallies):
        cells = []
        for hours in (DAY, WEEK):
            one = tallies[name, hours]
            if one.methods:
                cells += [f"{one.mase:.2f}", f"{np.mean(one.within80):.2f}", f"{np.mean(one.within95):.2f}"]
            else:
                cells += ["refused", "", ""]
        rows[name] = [*cells, tallies[name, DAY].methods.most_common(1)[0][0]]
    return rows


if __name__ == "__main__":
    main()
