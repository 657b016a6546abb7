"""What is measured: false alarms, power, sequential checks, change points, explanations,
CPU time. Each part gives the rows of one table.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from math import sqrt
from typing import Any

import numpy as np

from services.drift.domain.comparison import FAMILY_ALPHA, Comparison, compare, draws_for
from services.drift.domain.explanation import domain_scores, nearest_to_shift
from services.drift.domain.statistics import column_shift, embedding_shift
from services.drift.domain.statistics.change_point import find_change
from services.drift.domain.statistics.dependence import plan_blocks
from services.drift.domain.statistics.resampling import Deals
from services.drift.domain.statistics.sequential import AlarmBudget, Episode, follow, spend
from services.drift.domain.statistics.streams import MeanWatch, mean_changes
from services.drift.domain.windows import cut
from tests.benchmarks.drift.traffic import (
    INDEPENDENT,
    SESSIONS,
    Pool,
    Stream,
    as_window,
    draw,
    shift,
    topics_to_hold_out,
)

SIZES = ((200, 200), (1000, 1000), (200, 5000))  # window, baseline
KINDS = ("topic", "jailbreak", "french", "collection")
FAMILY = "family"


@dataclass(frozen=True)
class Effort:
    """How many repetitions each part gets."""

    false_alarms: int = 1000
    power: int = 100
    curve: int = 60
    classic: int = 20
    sequential_daily: int = 12
    sequential_six_hourly: int = 5
    streams: int = 20
    timing: int = 30


QUICK = Effort(
    false_alarms=6,
    power=4,
    curve=2,
    classic=1,
    sequential_daily=1,
    sequential_six_hourly=0,
    streams=2,
    timing=2,
)


def false_alarm(pool: Pool, effort: Effort, rng: np.random.Generator) -> list[dict[str, Any]]:
    """Share of comparisons of unchanged traffic that raise any alarm, at 1 % for the
    family.
    """
    rows = []
    for stream in (INDEPENDENT, SESSIONS):
        for sizes in SIZES:
            comparisons = [_compare(pool, sizes, stream=stream, rng=rng) for _ in range(effort.false_alarms)]
            alarms = _share(comparison.drifted for comparison in comparisons)
            by_test = {
                test: round(share["share"], 4) for test, share in _by_test(comparisons, alone=True).items()
            }
            rows.append(
                {
                    "stream": stream.name,
                    "n": sizes[0],
                    "baseline": sizes[1],
                    **_named(alarms, "false_alarm"),
                    "alone_at_1_percent": by_test,
                }
            )
            print(
                f"  {stream.name:12} {sizes}: {rows[-1]['false_alarm']:.4f} ± {rows[-1]['error']:.4f}",
                flush=True,
            )
    return rows


def power(pool: Pool, effort: Effort, rng: np.random.Generator) -> list[dict[str, Any]]:
    """Share of changed windows that each test sees: alone at 1 %, and within the family
    at 1 %.
    """
    kinds = [kind for kind in KINDS if kind != "collection" or topics_to_hold_out(pool, kind=kind)]
    settings = [
        (kind, share, sizes, effort.power) for kind in kinds for share in (0.05, 0.1) for sizes in SIZES
    ]
    settings += [(kind, share, (1000, 1000), effort.curve) for kind in kinds for share in (0.02, 0.03, 0.15)]
    rows: list[dict[str, Any]] = []
    for kind, share, sizes, repetitions in settings:
        comparisons = [
            _compare(pool, sizes, stream=INDEPENDENT, rng=rng, kind=kind, share=share)
            for _ in range(repetitions)
        ]
        shape = {"shift": kind, "share": share, "n": sizes[0], "baseline": sizes[1]}
        rows.append(
            {
                "test": FAMILY,
                **shape,
                **_named(_share(comparison.drifted for comparison in comparisons), "power"),
            }
        )
        in_family = _by_test(comparisons, alone=False)
        for test, alone in _by_test(comparisons, alone=True).items():
            rows.append(
                {"test": test, **shape, **_named(alone, "power"), "power_in_family": in_family[test]["share"]}
            )
        if sizes == (1000, 1000) and repetitions == effort.power:
            seen = [
                _classic_alarm(pool, sizes, kind=kind, share=share, rng=rng) for _ in range(effort.classic)
            ]
            rows.append({"test": "classic_ks_10_percent", **shape, **_named(_share(seen), "power")})
    return rows


def sequential(pool: Pool, effort: Effort, rng: np.random.Generator) -> list[dict[str, Any]]:
    """False alarms in 90 days of checks on rolling windows against one baseline: 250
    requests a day in sessions, windows of two days.
    """
    rows = []
    for name, every, runs in (
        ("daily", timedelta(days=1), effort.sequential_daily),
        ("six-hourly", timedelta(hours=6), effort.sequential_six_hourly),
    ):
        counts = [_ninety_days(pool, every=every, rng=rng) for _ in range(runs)]
        if counts:
            alarms, uncontrolled = (np.array([count[index] for count in counts]) for index in (0, 1))
            rows.append(
                {
                    "checks": name,
                    "runs": runs,
                    "false_alarms_per_90_days": float(alarms.mean()),
                    "error": float(alarms.std() / sqrt(runs)),
                    "runs_with_more_than_one": float((alarms > 1).mean()),
                    "most": int(alarms.max()),
                    "without_control": float(uncontrolled.mean()),
                }
            )
    return rows


def change_of_mean(pool: Pool, effort: Effort, rng: np.random.Generator) -> list[dict[str, Any]]:
    """ADWIN and the change point on the risk of each prompt, without a change and with
    10 % jailbreaks from the middle on.
    """
    rows = []
    length = 6000
    for stream in (INDEPENDENT, SESSIONS):
        for share in (0.0, 0.1):
            alarms, delays, p_values, misses = [], [], [], []
            for _ in range(effort.streams):
                risk = _risk_stream(pool, length, share=share, stream=stream, rng=rng)
                watch = MeanWatch.for_baseline(_risk_stream(pool, 2000, share=0.0, stream=stream, rng=rng))
                changes = [change.position for change in mean_changes(risk, watch)]
                alarms.append(
                    len([position for position in changes if share == 0 or position <= length // 2])
                )
                delays += (
                    [position - length // 2 for position in changes if position > length // 2][:1]
                    if share
                    else []
                )
                found = find_change(risk, rng=rng)
                p_values.append(found.p_value)
                misses.append(abs(found.index - length // 2))
            rows.append(
                {
                    "stream": stream.name,
                    "requests": length,
                    "share": share,
                    "adwin_false_alarms": float(np.mean(alarms)),
                    "adwin_found": len(delays) / effort.streams,
                    "adwin_delay_p50": float(np.median(delays)) if delays else None,
                    "change_point_significant": float((np.array(p_values) <= 0.01).mean()),
                    "change_point_error_p50": float(np.median(misses)) if share else None,
                }
            )
    return rows


def explanation(pool: Pool, effort: Effort, rng: np.random.Generator) -> list[dict[str, Any]]:
    """Of the 20 prompts named as driving a drift of 10 % at 1000 against 1000, the
    share that are really new.
    """
    rows = []
    for kind in ("topic", "jailbreak", "french"):
        shares = defaultdict(list)
        for _ in range(max(1, effort.classic // 4)):
            held_out = _held_out(pool, kind, rng)
            baseline = pool.embeddings[draw(pool, 1000, stream=INDEPENDENT, rng=rng, held_out=held_out)]
            before = draw(pool, 1000, stream=INDEPENDENT, rng=rng, held_out=held_out)
            after = shift(pool, before, kind=kind, share=0.1, held_out=held_out, rng=rng)
            window, new = pool.embeddings[after], before != after
            scores = domain_scores(window, baseline, rng=rng)
            shares["nearest_to_shift"].append(new[nearest_to_shift(window, baseline, count=20)].mean())
            shares["domain_classifier"].append(new[np.argsort(-scores.window)[:20]].mean())
            shares["auc"].append(scores.auc)
        rows.append(
            {"shift": kind, "by_chance": 0.1}
            | {name: float(np.mean(values)) for name, values in shares.items()}
        )
    return rows


def cpu_ms(pool: Pool, effort: Effort, rng: np.random.Generator) -> list[dict[str, Any]]:
    """CPU time for 1000 against 1000 without embedding, unchanged and with 10 %
    jailbreaks (nothing can stop early then).
    """
    rows = []
    for kind, share in ((None, 0.0), ("jailbreak", 0.1)):
        spent = defaultdict(list)
        for _ in range(effort.timing):
            window, baseline = _windows(
                pool, (1000, 1000), stream=INDEPENDENT, rng=rng, kind=kind, share=share
            )
            assert window.embeddings is not None
            assert baseline.embeddings is not None
            assert window.risk is not None
            assert baseline.risk is not None
            deals = Deals(rng, draws_for(FAMILY_ALPHA, 11))
            embeddings = window.embeddings, baseline.embeddings
            plan = plan_blocks(*embeddings)
            calls = {
                "plan_blocks": partial(plan_blocks, *embeddings),
                "mean_distance": partial(embedding_shift.mean_distance, *embeddings, plan=plan, deals=deals),
                "mmd": partial(embedding_shift.mmd, *embeddings, plan=plan, deals=deals),
                "drifted_share": partial(embedding_shift.drifted_share, *embeddings, plan=plan, deals=deals),
                "flagged_rate": partial(column_shift.flagged_rate, window.risk, baseline.risk, deals=deals),
                "language": partial(
                    column_shift.category_shift,
                    "language",
                    window.categories["language"],
                    baseline.categories["language"],
                    deals=deals,
                ),
                "latency": partial(
                    column_shift.scalar_shift,
                    "latency",
                    window.scalars["latency"],
                    baseline.scalars["latency"],
                    deals=deals,
                ),
                FAMILY: partial(compare, window, baseline, rng=rng),
            }
            for name, call in calls.items():
                started = time.process_time()
                call()
                spent[name].append(1000 * (time.process_time() - started))
        rows += [
            {
                "shift": kind or "none",
                "test": name,
                "p50": float(np.median(times)),
                "p95": float(np.quantile(times, 0.95)),
            }
            for name, times in spent.items()
        ]
    return rows


def _windows(
    pool: Pool,
    sizes: tuple[int, int],
    *,
    stream: Stream,
    rng: np.random.Generator,
    kind: str | None = None,
    share: float = 0.0,
) -> tuple[Any, Any]:
    held_out = _held_out(pool, kind, rng)
    baseline = draw(pool, sizes[1], stream=stream, rng=rng, held_out=held_out)
    window = draw(pool, sizes[0], stream=stream, rng=rng, held_out=held_out)
    if kind is not None:
        window = shift(pool, window, kind=kind, share=share, held_out=held_out, rng=rng)
    return as_window(pool, window, stream=stream, rng=rng), as_window(pool, baseline, stream=stream, rng=rng)


def _held_out(pool: Pool, kind: str | None, rng: np.random.Generator) -> int | None:
    return int(rng.choice(topics_to_hold_out(pool, kind=kind))) if kind in {"topic", "collection"} else None


def _compare(
    pool: Pool,
    sizes: tuple[int, int],
    *,
    stream: Stream,
    rng: np.random.Generator,
    kind: str | None = None,
    share: float = 0.0,
) -> Comparison:
    window, baseline = _windows(pool, sizes, stream=stream, rng=rng, kind=kind, share=share)
    return compare(window, baseline, rng=rng)


def _classic_alarm(
    pool: Pool, sizes: tuple[int, int], *, kind: str, share: float, rng: np.random.Generator
) -> bool:
    """The usual rule: alarm when over 10 % of dimensions have a Kolmogorov-Smirnov
    p-value below 5 %.
    """
    window, baseline = _windows(pool, sizes, stream=INDEPENDENT, rng=rng, kind=kind, share=share)
    return embedding_shift.classic_drifted_share(window.embeddings, baseline.embeddings) > 0.1


def _ninety_days(pool: Pool, *, every: timedelta, rng: np.random.Generator) -> tuple[int, int]:
    """Count alarms under the budget, and how many there would be at 1 % a check."""
    a_day, in_window = 250, 500
    stream = Stream("sessions", 0.5)
    baseline = as_window(pool, draw(pool, 2000, stream=stream, rng=rng), stream=stream, rng=rng)
    traffic = draw(pool, 92 * a_day, stream=stream, rng=rng)
    columns = as_window(pool, traffic, stream=stream, rng=rng)
    start = datetime(2026, 1, 1, tzinfo=UTC)
    alarms = uncontrolled = 0
    open_alarm: Episode | None = None
    open_uncontrolled: Episode | None = None
    for check in range(1, timedelta(days=90) // every + 1):
        now = start + check * every
        end = in_window + int(check * every / timedelta(days=1) * a_day)
        alpha = spend(AlarmBudget(), last_check=now - every, now=now)
        comparison = compare(cut(columns, end - in_window, end), baseline, rng=rng, alpha=alpha)
        times = {"window_start": now - timedelta(days=in_window / a_day), "now": now}
        raised, open_alarm = follow(open_alarm, drifted=comparison.drifted, **times)
        at_one_percent = any(verdict.adjusted_p <= FAMILY_ALPHA for verdict in comparison.verdicts)
        raised_uncontrolled, open_uncontrolled = follow(open_uncontrolled, drifted=at_one_percent, **times)
        alarms += raised
        uncontrolled += raised_uncontrolled
    return alarms, uncontrolled


def _risk_stream(
    pool: Pool, count: int, *, share: float, stream: Stream, rng: np.random.Generator
) -> np.ndarray:
    indices = draw(pool, count, stream=stream, rng=rng)
    indices[count // 2 :] = shift(
        pool, indices[count // 2 :], kind="jailbreak", share=share, held_out=None, rng=rng
    )
    return pool.risk[indices]


def _by_test(comparisons: list[Comparison], *, alone: bool) -> dict[str, dict[str, float]]:
    """Share of comparisons in which each test is significant, by its own p-value or by
    the family's.
    """
    hits = defaultdict(list)
    for comparison in comparisons:
        for verdict in comparison.verdicts:
            hits[verdict.reading.test].append(
                (verdict.reading.p_value if alone else verdict.adjusted_p) <= FAMILY_ALPHA
            )
    return {test: _share(seen) for test, seen in hits.items()}


def _share(seen: Iterable[bool]) -> dict[str, float]:
    """A share and its standard error, by Agresti and Coull's adjusted count, so that 0
    of n has an error, too.
    """
    hits = list(seen)
    adjusted = (sum(hits) + 2) / (len(hits) + 4)
    return {
        "share": sum(hits) / len(hits),
        "error": sqrt(adjusted * (1 - adjusted) / (len(hits) + 4)),
        "repetitions": len(hits),
    }


def _named(share: dict[str, float], name: str) -> dict[str, float]:
    return {name: share["share"], "error": round(share["error"], 5), "repetitions": share["repetitions"]}
