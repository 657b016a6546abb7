"""What fine-tuning reads: rows drawn so that sources and labels weigh evenly, their
windows as token ids, some of them hidden in or joined to harmless text.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from services.detection.training.fit import row_weights
from services.detection.training.rows import Row

START, PAD, END, UNKNOWN = 0, 1, 2, 3
WINDOWS = 4
JOINED, DROPPED = 0.4, 0.08
FOREIGN_WEIGHT = 1.5


@dataclass(frozen=True)
class Batch:
    """`ids` (windows, tokens); `owner`: each window's text; `labels`, `sources` and `rows`
    (positions) of each text.
    """

    ids: NDArray[np.int64]
    owner: NDArray[np.int64]
    labels: NDArray[np.float32]
    sources: NDArray[np.int64]
    rows: NDArray[np.int64]


class Batches:
    """Batches over the `chosen` rows; `ids` are all rows' windows, row `n`'s from
    `first[n]` on.
    """

    def __init__(
        self,
        rows: Sequence[Row],
        ids: NDArray[np.int64],
        first: NDArray[np.int64],
        chosen: NDArray[np.int64],
        seed: int = 0,
    ) -> None:
        self._ids, self._first, self._chosen, self._seed = ids, first, chosen, seed
        picked = [rows[position] for position in chosen]
        self._labels = np.array([row.label for row in rows], np.float32)
        names = sorted({row.source for row in picked})
        number = {name: place for place, name in enumerate(names)}
        self._sources = np.array([number.get(row.source, -1) for row in rows])
        self.sources = len(names)
        weights = row_weights(picked) * np.array(
            [1.0 if row.lang == "en" else FOREIGN_WEIGHT for row in picked]
        )
        labels = self._labels[chosen]
        for label in (0, 1):
            weights[labels == label] /= weights[labels == label].sum()
        self._share = weights / weights.sum()
        self._harmless = chosen[labels == 0]

    def draw(self, step: int, count: int) -> Batch:
        """The batch of a step, the same one every time."""
        rng = np.random.default_rng((self._seed, step))
        rows = rng.choice(self._chosen, count, p=self._share)
        windows, owner = [], []
        for place, row in enumerate(rows):
            found = self._joined(self._windows(row, rng), rng)
            windows.extend(found)
            owner.extend([place] * len(found))
        ids = np.stack(windows)
        ids = np.where((rng.random(ids.shape) < DROPPED) & (ids > UNKNOWN), UNKNOWN, ids)
        width = max(8, int((ids != PAD).sum(1).max()))
        return Batch(ids[:, :width], np.array(owner), self._labels[rows], self._sources[rows], rows)

    def _windows(self, row: int, rng: np.random.Generator) -> list[NDArray[np.int64]]:
        start, end = self._first[row], self._first[row + 1]
        if end - start <= WINDOWS:
            return list(self._ids[start:end])
        others = start + 1 + rng.choice(end - start - 1, WINDOWS - 1, replace=False)
        return [self._ids[start], *self._ids[others]]

    def _joined(self, windows: list[NDArray[np.int64]], rng: np.random.Generator) -> list[NDArray[np.int64]]:
        """Now and then harmless text around: a short text shares its window with it, a
        longer one gets a window more. Both labels alike, so that it gives nothing away.
        """
        if rng.random() >= JOINED:
            return windows
        other = rng.choice(self._harmless)
        harmless = self._ids[rng.integers(self._first[other], self._first[other + 1])]
        own = _content(windows[0])
        if len(windows) == 1 and len(own) <= 32 and rng.random() < 0.6:
            return [_spliced(own, _content(harmless), len(windows[0]), before=bool(rng.random() < 0.6))]
        if len(windows) <= WINDOWS - 1:
            windows.insert(0 if rng.random() < 0.25 else len(windows), harmless)
        return windows


def _content(window: NDArray[np.int64]) -> NDArray[np.int64]:
    kept: NDArray[np.int64] = window[(window != PAD) & (window != START) & (window != END)]
    return kept


def _spliced(
    own: NDArray[np.int64], other: NDArray[np.int64], width: int, *, before: bool
) -> NDArray[np.int64]:
    room = other[: width - 2 - len(own)]
    text = np.concatenate([room, own] if before else [own, room])
    window = np.full(width, PAD)
    window[0], window[1 : 1 + len(text)], window[1 + len(text)] = START, text, END
    return window
