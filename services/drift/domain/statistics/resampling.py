"""One engine for every test: what would the difference be if window and baseline were
the same traffic?

Each test maps a request to features and measures the size of D, the difference of the
two mean feature vectors. Under the null hypothesis blocks of requests are exchangeable
between window and baseline, so dealing the blocks out anew, at the actual two sizes,
gives D's null distribution, whatever the sizes and whatever the features (Good 2005,
Permutation, Parametric and Bootstrap Tests of Hypotheses; blocks: Kirch 2007, Block
permutation principles for the change analysis of dependent data, J. Stat. Planning and
Inference 137). With r of B redrawn statistics at least as large as the observed one,

    p = (1 + r) / (1 + B)  (Phipson and Smyth 2010, Stat. Appl. Genet. Mol. Biol. 9)

Drawing stops early once p is clearly too large to matter (Besag and Clifford 1991,
Sequential Monte Carlo p-values, Biometrika 78); a p-value that could count is always
computed from all the draws, so stopping cannot cause a false alarm.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from services.drift.domain.statistics.dependence import BlockPlan
from services.drift.domain.windows import FloatArray

Statistic = Callable[[FloatArray], FloatArray]
"""Takes differences of means, (B, f), and gives one or more statistics for each, (B,)
or (B, s): larger is more different.
"""

_FIRST_LOOK = 200
_ENOUGH, _CLEARLY = (
    10,
    0.02,
)  # a p-value is not pursued after so many exceedances, if they are more than this share of the draws
_CHUNK = 1000  # draws computed together: bounds memory
_KEPT = 6  # chunks kept for the next test; checks at a very small alpha draw many more, and draw them anew


@dataclass(frozen=True, slots=True)
class Sums:
    """Feature sums of blocks, (blocks, f), and how many requests each block holds,
    (blocks,).
    """

    values: FloatArray
    sizes: FloatArray

    @property
    def mean(self) -> FloatArray:
        """Mean feature vector over all requests, (f,)."""
        mean: FloatArray = self.values.sum(axis=0) / self.sizes.sum()
        return mean


@dataclass(frozen=True, slots=True)
class Outcome:
    """What resampling found: the observed statistics, their mean under the null, and
    the p-value.
    """

    observed: FloatArray  # (s,)
    null_mean: FloatArray  # (s,)
    p_value: float
    draws: int


class Deals:
    """Random deals of blocks to window and baseline, drawn once and shared by tests
    that cut the traffic alike.
    """

    def __init__(self, rng: np.random.Generator, draws: int) -> None:
        self.draws = draws
        self.rng = rng
        self._known: dict[tuple[int, int], list[NDArray[np.float32]]] = {}

    def chunks(self, plan: BlockPlan) -> Iterator[NDArray[np.float32]]:
        """Give 0/1 matrices (draws, blocks), `draws` rows in all, the first few on
        their own; 1 puts a block into the window.
        """
        shape = (plan.window_blocks, plan.baseline_blocks)
        known = self._known.setdefault(shape, [])
        for index, rows in enumerate(_chunk_sizes(self.draws)):
            if index < len(known):
                yield known[index]
                continue
            labels = self._deal(rows, *shape)
            if index < _KEPT:
                known.append(labels)
            yield labels

    def _deal(self, rows: int, window_blocks: int, baseline_blocks: int) -> NDArray[np.float32]:
        keys = self.rng.random((rows, window_blocks + baseline_blocks), dtype=np.float32)
        chosen = np.argpartition(keys, window_blocks - 1, axis=1)[:, :window_blocks]
        labels = np.zeros_like(keys)
        np.put_along_axis(labels, chosen, 1, axis=1)
        return labels


def sum_blocks(features: FloatArray, blocks: int) -> Sums:
    """Cut (n, f) features into `blocks` neighbouring runs, equal in length to within
    one request, and add up each.
    """
    sizes = block_sizes(len(features), blocks)
    return Sums(np.add.reduceat(features, np.cumsum(sizes) - sizes, axis=0), sizes.astype(np.float32))


def block_sizes(count: int, blocks: int) -> NDArray[np.int64]:
    """Split `count` neighbours into `blocks` runs, equal to within one: (blocks,)."""
    return np.diff(np.arange(blocks + 1) * count // blocks)


def resample(window: Sums, baseline: Sums, *, plan: BlockPlan, statistic: Statistic, deals: Deals) -> Outcome:
    """Test whether two sets of block sums have the same mean features.

    When the statistic gives several numbers, the p-value is that of the most surprising
    one among them, its being the most surprising accounted for: Tippett's combination
    over the same draws (Pesarin and Salmaso 2010, Permutation Tests, 4.2).
    """
    observed = np.atleast_2d(_columns(statistic((window.mean - baseline.mean)[None, :])))
    values = np.concatenate([window.values, baseline.values])
    sizes = np.concatenate([window.sizes, baseline.sizes])
    parts: list[FloatArray] = []
    drawn = next_look = 0
    for labels in deals.chunks(plan):
        parts.append(
            _columns(statistic(_differences(labels, values, sizes) * np.float32(np.sqrt(plan.inflation))))
        )
        drawn += len(labels)
        if drawn >= next_look:
            if _exceeding(observed, np.concatenate(parts)) >= max(_ENOUGH, _CLEARLY * drawn):
                break
            next_look = 2 * drawn
    null = np.concatenate(parts)
    p_value = (1 + _exceeding(observed, null)) / (1 + drawn)
    return Outcome(observed=observed[0], null_mean=null.mean(axis=0), p_value=p_value, draws=drawn)


def _chunk_sizes(draws: int) -> list[int]:
    first = min(_FIRST_LOOK, draws)
    rest = draws - first
    return [first] + [min(_CHUNK, rest - done) for done in range(0, rest, _CHUNK)]


def _differences(labels: NDArray[np.float32], values: FloatArray, sizes: FloatArray) -> FloatArray:
    """Difference of the two mean feature vectors for each deal: (B, f)."""
    in_window = labels @ sizes
    sums = labels @ values
    total = values.sum(axis=0)
    difference: FloatArray = sums / in_window[:, None] - (total - sums) / (sizes.sum() - in_window)[:, None]
    return difference


def _columns(statistics: FloatArray) -> FloatArray:
    return statistics[:, None] if statistics.ndim == 1 else statistics


def _exceeding(observed: FloatArray, null: FloatArray) -> int:
    """How many deals were at least as surprising as what was observed."""
    tolerance = 1e-6 * np.abs(observed)  # float32 sums of the same blocks in another order must count as ties
    if observed.shape[1] == 1:
        return int((null >= observed - tolerance).sum())
    best = _tail_ranks(np.concatenate([observed - tolerance, null])).min(axis=1)
    return int((best[1:] <= best[0]).sum())


def _tail_ranks(statistics: FloatArray) -> FloatArray:
    """How many rows are at least as large, per column: (B, s)."""
    ranks = np.empty(statistics.shape)
    for column in range(statistics.shape[1]):
        ordered = np.sort(statistics[:, column])
        ranks[:, column] = len(ordered) - np.searchsorted(ordered, statistics[:, column], side="left")
    return ranks
