"""Many tests, one error rate: Holm's step-down correction (Holm 1979, Scandinavian Journal of Statistics 6)."""

from __future__ import annotations

from collections.abc import Sequence


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjust p-values so that calling those <= alpha significant errs anywhere in the family with probability <= alpha.

    The k-th smallest of m becomes max over j <= k of (m - j + 1) p_(j), at most 1. Valid whatever the dependence between tests.
    """
    adjusted = [0.0] * len(p_values)
    running = 0.0
    for rank, index in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        running = max(running, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = running
    return adjusted
