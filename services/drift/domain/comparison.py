"""Compare a window of traffic with its baseline by every test that their columns allow."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence, Sized
from dataclasses import dataclass
from functools import partial
from math import ceil

import numpy as np

from services.drift.domain.readings import Reading
from services.drift.domain.severity import Severity, severity_of
from services.drift.domain.statistics.column_shift import category_shift, flagged_rate, scalar_shift
from services.drift.domain.statistics.embedding_shift import embedding_readings
from services.drift.domain.statistics.multiplicity import holm
from services.drift.domain.statistics.resampling import Deals
from services.drift.domain.windows import FloatArray, Window

FAMILY_ALPHA = 0.01
SMALLEST = 100  # requests in either stretch below which a test is skipped: too few blocks for a small p-value
WEIGHTS = {
    "flagged_rate": 3.0
}  # shares of the error rate; 1 for every other test. Only this one sees a small wave of attacks
_DRAWS_PER_LEVEL = 3  # a p-value at the line of the lightest test then still rests on three deals


@dataclass(frozen=True, slots=True)
class Verdict:
    """A reading, its p-value in view of the whole family, and what it amounts to."""

    reading: Reading
    adjusted_p: float
    severity: Severity  # NONE unless significant; otherwise by effect size


@dataclass(frozen=True, slots=True)
class Comparison:
    """All verdicts, the tests that could not be run with the reason, and the worst
    severity.
    """

    verdicts: tuple[Verdict, ...]
    skipped: Mapping[str, str]
    alpha: float

    @property
    def drifted(self) -> bool:
        """Whether any test is significant at the family's error rate."""
        return any(verdict.adjusted_p <= self.alpha for verdict in self.verdicts)

    @property
    def severity(self) -> Severity:
        """The worst among the significant tests."""
        return max((verdict.severity for verdict in self.verdicts), default=Severity.NONE)


def compare(
    window: Window, baseline: Window, *, rng: np.random.Generator, alpha: float = FAMILY_ALPHA
) -> Comparison:
    """Test every column that both stretches have; the chance of any false alarm is
    `alpha`, whatever the number of tests.
    """
    planned = list(_plan_tests(window, baseline))
    runnable = [test for test in planned if test.problem is None]
    deals = Deals(
        rng, draws_for(alpha, sum(test.readings * WEIGHTS.get(test.name, 1.0) for test in runnable))
    )
    readings = [reading for test in runnable for reading in test.run(deals=deals)]
    adjusted = holm(
        [reading.p_value for reading in readings], [WEIGHTS.get(reading.test, 1.0) for reading in readings]
    )
    return Comparison(
        verdicts=tuple(
            Verdict(
                reading,
                p_value,
                severity_of(reading.test, reading.effect) if p_value <= alpha else Severity.NONE,
            )
            for reading, p_value in zip(readings, adjusted, strict=True)
        ),
        skipped={test.name: test.problem for test in planned if test.problem is not None},
        alpha=alpha,
    )


def draws_for(alpha: float, shares: float) -> int:
    """How many deals let the smallest p-value of a test of weight 1 pass Holm's first
    step, with room to spare, `shares` being all weights.
    """
    return ceil(_DRAWS_PER_LEVEL * max(1.0, shares) / alpha)


@dataclass(frozen=True, slots=True)
class _Test:
    """A test that could be run: on how many requests, giving how many readings."""

    name: str
    counts: tuple[int, int]
    run: Callable[..., list[Reading]]
    readings: int = 1

    @property
    def problem(self) -> str | None:
        if min(self.counts) >= SMALLEST:
            return None
        return f"needs {SMALLEST} requests in window and baseline, got {self.counts[0]} and {self.counts[1]}"


def _plan_tests(window: Window, baseline: Window) -> Iterator[_Test]:
    """Name the tests for what either stretch has: a column that one of them lacks
    counts no requests there.
    """
    absent: FloatArray = np.empty(0)
    if window.embeddings is not None or baseline.embeddings is not None:
        rows = [absent if part.embeddings is None else part.embeddings for part in (window, baseline)]
        yield _Test("embeddings", _counts(rows), partial(embedding_readings, *rows), readings=3)
    if window.risk is not None or baseline.risk is not None:
        risks = [absent if part.risk is None else _present(part.risk) for part in (window, baseline)]
        yield _Test("flagged_rate", _counts(risks), _single(partial(flagged_rate, *risks)))
    for name in sorted(window.categories.keys() | baseline.categories.keys()):
        labels = [part.categories.get(name, ()) for part in (window, baseline)]
        yield _Test(name, _counts(labels), _single(partial(category_shift, name, *labels)))
    for name in sorted(window.scalars.keys() | baseline.scalars.keys()):
        values = [_present(part.scalars.get(name, absent)) for part in (window, baseline)]
        yield _Test(name, _counts(values), _single(partial(scalar_shift, name, *values)))


def _single(test: Callable[..., Reading]) -> Callable[..., list[Reading]]:
    return lambda *, deals: [test(deals=deals)]


def _present(values: FloatArray) -> FloatArray:
    kept: FloatArray = values[~np.isnan(values)]
    return kept


def _counts(columns: Sequence[Sized]) -> tuple[int, int]:
    return len(columns[0]), len(columns[1])
