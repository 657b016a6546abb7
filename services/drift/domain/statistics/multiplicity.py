"""Many tests, one error rate: Holm's step-down correction, with weights.

Holm 1979, A simple sequentially rejective multiple test procedure, Scandinavian Journal
of Statistics 6, sections 2 and 4.
"""

from __future__ import annotations

from collections.abc import Sequence


def holm(p_values: Sequence[float], weights: Sequence[float] | None = None) -> list[float]:
    """Adjust p-values so that calling those <= alpha significant errs anywhere in the
    family with probability <= alpha.

    With tests in order of p / w, the k-th becomes max over j <= k of (w_j + ... + w_m)
    p_j / w_j, at most 1; equal weights by default. A test of weight 3 gets three shares
    of alpha; the error rate stays what it is as long as weights are fixed beforehand.
    Valid whatever the dependence between tests.
    """
    shares = [1.0] * len(p_values) if weights is None else list(weights)
    adjusted = [0.0] * len(p_values)
    left, running = sum(shares), 0.0
    for index in sorted(range(len(p_values)), key=lambda index: p_values[index] / shares[index]):
        running = max(running, min(1.0, left * p_values[index] / shares[index]))
        adjusted[index] = running
        left -= shares[index]
    return adjusted
