"""Predicted waits against simulated ones, and whether advised slots hold the goal.

python -m tests.benchmarks.analytics.capacity [--runs 5]
"""

import argparse
from itertools import product

import numpy as np

from services.console.domain.capacity.queueing import Demand, slots_for, wait_s
from tests.benchmarks.analytics.queue_simulation import p95

_SHAPES = ((1.0, 0.0), (1.0, 1.0), (1.0, 4.0), (3.0, 1.0), (3.0, 4.0))


def main() -> None:
    """Prints both tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=5)
    runs = parser.parse_args().runs
    print("p95 of the wait in mean service times: predicted / simulated (standard deviation over runs)\n")
    print("| slots, utilisation | " + " | ".join(f"ca² {a:g}, cs² {s:g}" for a, s in _SHAPES) + " |")
    print("|-|" + "-|" * len(_SHAPES))
    for slots, load in product((1, 4, 16, 64), (0.7, 0.85, 0.95)):
        cells = [_cell(slots, load, burst, varied, runs) for burst, varied in _SHAPES]
        print(f"| {slots}, {load} | {' | '.join(cells)} |")
    print("\nadvised slots for p95 <= half a service time: simulated p95 with them / with one fewer\n")
    print("| offered load | " + " | ".join(f"ca² {a:g}, cs² {s:g}" for a, s in _SHAPES) + " |")
    print("|-|" + "-|" * len(_SHAPES))
    for offered in (0.5, 3.0, 12.0, 50.0):
        cells = [_advised(offered, burst, varied, runs) for burst, varied in _SHAPES]
        print(f"| {offered:g} | {' | '.join(cells)} |")


def _cell(slots: int, load: float, burst: float, varied: float, runs: int) -> str:
    said = wait_s(slots, Demand(load * slots, 1, burst, varied))
    came = [p95(slots, load, burst, varied, seed=seed) for seed in range(runs)]
    return f"{said:.2f} / {np.mean(came):.2f} ({np.std(came):.2f})"


def _advised(offered: float, burst: float, varied: float, runs: int) -> str:
    slots = slots_for(Demand(offered, 1, burst, varied), target_s=0.5, most=1000)
    assert slots is not None
    came = []
    for count in (slots, slots - 1):
        stable = count > offered
        runs_of = (
            [p95(count, offered / count, burst, varied, seed=seed) for seed in range(runs)] if stable else []
        )
        came.append(f"{np.mean(runs_of):.2f}" if runs_of else "endless")
    return f"{slots}: {' / '.join(came)}"


if __name__ == "__main__":
    main()
