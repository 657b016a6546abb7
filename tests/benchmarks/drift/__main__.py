"""How often does drift detection err, and what does it see?

`make bench-drift OUT=drift.json [DATA=prompts.jsonl]`

    python -m tests.benchmarks.drift --out drift.json [--data prompts.jsonl] [--plots docs/images]
        [--scorer detector|held-out] [--quick]

Traffic is drawn from embedded prompts with a known change or none (traffic.py),
then judged by the code that the drift service runs. Every share is printed with its
Monte-Carlo standard error. Without --data the prompts are authored templates
(prompts.py).
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from services.drift.domain.comparison import FAMILY_ALPHA
from tests.benchmarks.drift.parts import (
    QUICK,
    Effort,
    change_of_mean,
    cpu_ms,
    explanation,
    false_alarm,
    power,
    sequential,
)
from tests.benchmarks.drift.traffic import load_pool


def main() -> None:
    """Run all parts, print tables, write JSON and plots."""
    arguments = _arguments()
    started = time.process_time()
    pool = load_pool(
        arguments.data, scorer=arguments.scorer or ("held-out" if arguments.data else "detector")
    )
    effort = (
        QUICK
        if arguments.quick
        else Effort(**{part: round(arguments.scale * count) for part, count in asdict(Effort()).items()})
    )
    print(
        f"{len(pool.texts)} prompts ({pool.source}), {int(pool.attack.sum())} of them attacks; risk by: "
        f"{pool.scorer}"
    )
    result: dict[str, Any] = {
        "data": {
            "source": pool.source,
            "prompts": len(pool.texts),
            "attacks": int(pool.attack.sum()),
            "scorer": pool.scorer,
            "quick": arguments.quick,
        },
        "alpha": FAMILY_ALPHA,
    }
    parts = {
        "cpu_ms": cpu_ms,
        "power": power,
        "false_alarm": false_alarm,
        "sequential": sequential,
        "change_of_mean": change_of_mean,
        "explanation": explanation,
    }
    for index, (name, part) in enumerate(parts.items()):
        if arguments.parts and name not in arguments.parts:
            continue
        part_started = time.process_time()
        result[name] = part(pool, effort, np.random.default_rng([20261122, index]))
        print(f"\n{name} ({time.process_time() - part_started:.0f} CPU-s)")
        _print_power(result[name]) if name == "power" else _print_rows(result[name])
    result["cpu_s"] = round(time.process_time() - started, 1)
    print(f"\n{result['cpu_s']} CPU-s")
    if arguments.out:
        arguments.out.parent.mkdir(parents=True, exist_ok=True)
        arguments.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
        print(f"written to {arguments.out}")
    if arguments.plots and not arguments.parts:
        from tests.benchmarks.drift.plots import draw_plots

        draw_plots(result, pool, arguments.plots)


def _print_rows(rows: list[dict[str, Any]]) -> None:
    for row in rows:
        print(
            "  "
            + "  ".join(
                f"{key}={value:.4g}" if isinstance(value, float) else f"{key}={value}"
                for key, value in row.items()
            )
        )


def _print_power(rows: list[dict[str, Any]]) -> None:
    """One line a test, one column a setting: power alone at 1 %."""
    settings = list(dict.fromkeys((row["shift"], row["share"], row["n"], row["baseline"]) for row in rows))
    seen = {
        (row["test"], row["shift"], row["share"], row["n"], row["baseline"]): row["power"] for row in rows
    }
    for kind, share, window, baseline in settings:
        tests = [
            test
            for test in dict.fromkeys(row["test"] for row in rows)
            if (test, kind, share, window, baseline) in seen
        ]
        cells = "  ".join(f"{test} {seen[(test, kind, share, window, baseline)]:.2f}" for test in tests)
        print(f"  {kind:10} {share:4.0%} {window:5}/{baseline:<5} {cells}")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--data", type=Path, help="prompts, one JSON object a line: text, label, category, lang, source"
    )
    parser.add_argument("--out", type=Path, help="JSON to write")
    parser.add_argument("--plots", type=Path, help="folder for PNG plots")
    parser.add_argument(
        "--scorer",
        choices=("detector", "held-out"),
        help="where a prompt's risk comes from: Tocsin's detector (default without --data), or a "
        "classifier of embeddings that never saw the prompt's "
        "source (default with --data: a file that the detector was trained on would flatter it)",
    )
    parser.add_argument(
        "--scale", type=float, default=1.0, help="multiplies all repetitions: 4 halves the Monte-Carlo errors"
    )
    parser.add_argument(
        "--parts",
        nargs="*",
        help="only these: cpu_ms power false_alarm sequential change_of_mean explanation",
    )
    parser.add_argument(
        "--quick", action="store_true", help="a few repetitions of everything: does it run at all?"
    )
    return parser.parse_args()


if __name__ == "__main__":
    main()
