"""What a drift test compares: two stretches of traffic in the order in which it
arrived.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.floating[Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """Requests in order of arrival, one entry per request in every column.

    The order matters: tests read the traffic's autocorrelation from it. A column that
    is absent is not tested; a NaN in `scalars` or `risk` means that this request has no
    such value (no rating, say) and leaves only that test.
    """

    embeddings: FloatArray | None = None  # (n, d), rows of unit length
    risk: FloatArray | None = (
        None  # (n,), 0..1: the detector's probability of an attack at even odds, or 0/1 flags
    )
    categories: Mapping[str, Sequence[str]] = field(default_factory=dict)  # name -> n labels (language, ...)
    scalars: Mapping[str, FloatArray] = field(
        default_factory=dict
    )  # name -> (n,) (length, quality, latency, usage)

    def __post_init__(self) -> None:
        """Refuse columns that do not describe the same requests, or that no test can
        judge.
        """
        sizes = {name: len(column) for name, column in self._columns().items()}
        if len(set(sizes.values())) > 1:
            raise ValueError(
                f"columns of a window have one entry per request, got lengths {sizes}: pass NaN for a "
                "missing value"
            )
        if self.embeddings is not None and self.embeddings.ndim != 2:
            raise ValueError(f"embeddings are (n, d), got shape {self.embeddings.shape}")
        if self.embeddings is not None and not np.isfinite(self.embeddings).all():
            raise ValueError(
                "embeddings hold NaN or infinity, which would pass for a drift: leave those requests out"
            )
        infinite = [name for name, values in self.scalars.items() if np.isinf(values).any()]
        if infinite:
            raise ValueError(
                f"{infinite} hold infinity, which has no distance to anything: clip it or pass NaN"
            )

    def __len__(self) -> int:
        columns = self._columns()
        return len(next(iter(columns.values()))) if columns else 0

    def _columns(self) -> dict[str, Any]:
        present: dict[str, Any] = {"embeddings": self.embeddings, "risk": self.risk}
        return (
            {name: column for name, column in present.items() if column is not None}
            | dict(self.categories)
            | dict(self.scalars)
        )


def cut(window: Window, start: int, stop: int) -> Window:
    """Give the requests `start` (included) to `stop` (excluded), all columns alike."""
    return replace(
        window,
        embeddings=None if window.embeddings is None else window.embeddings[start:stop],
        risk=None if window.risk is None else window.risk[start:stop],
        categories={name: labels[start:stop] for name, labels in window.categories.items()},
        scalars={name: values[start:stop] for name, values in window.scalars.items()},
    )


def latest(window: Window, size: int) -> Window:
    """Give the last `size` requests, or all if there are fewer."""
    return cut(window, max(0, len(window) - size), len(window))
