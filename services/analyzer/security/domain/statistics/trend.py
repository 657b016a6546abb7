"""Whether figures rise: the Mann-Kendall test, which asks only which of two is larger.

Mann: Nonparametric tests against trend (1945); Kendall: Rank Correlation Methods
(1975), chapter 4, with the variance corrected for ties.
"""

import math
from collections import Counter
from collections.abc import Sequence


def rising(values: Sequence[float]) -> float:
    """The test's z for a rise: 3.09 and more comes of figures without a trend once in a
    thousand; 0 where it cannot be told.
    """
    size = len(values)
    order = sum(
        (later > earlier) - (later < earlier)
        for place, earlier in enumerate(values)
        for later in values[place + 1 :]
    )
    ties = sum(n * (n - 1) * (2 * n + 5) for n in Counter(values).values())
    variance = (size * (size - 1) * (2 * size + 5) - ties) / 18
    if variance <= 0 or order == 0:
        return 0.0
    return (order - math.copysign(1, order)) / math.sqrt(variance)
