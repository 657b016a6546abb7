"""Topics that grew: clusters of the prompts behind a drift, with exemplars and the
words that set them apart.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from math import log

import numpy as np
from scipy.cluster.vq import kmeans, vq

from services.drift.domain.windows import FloatArray

_WORD = re.compile(r"[^\W\d_]{2,}(?:'[^\W\d_]+)?")
_RESTARTS = 5


@dataclass(frozen=True, slots=True)
class Cluster:
    """Prompts that mean about the same; growth is its share of the window less its
    share of the baseline.
    """

    members: tuple[int, ...]  # indices into the window
    exemplars: tuple[int, ...]  # the members nearest to the centre, nearest first
    words: tuple[str, ...]  # most characteristic first
    window_share: float  # 0..1
    baseline_share: float  # 0..1

    @property
    def growth(self) -> float:
        """Change of share, -1..1."""
        return self.window_share - self.baseline_share


def growing_clusters(
    window: FloatArray,
    baseline: FloatArray,
    *,
    window_texts: Sequence[str],
    count: int,
    rng: np.random.Generator,
    exemplars: int = 3,
    words: int = 8,
) -> list[Cluster]:
    """Cluster window and baseline together by k-means (the best of some restarts), the
    fastest growing cluster first.

    A cluster without a window prompt is left out: there is nothing of the window to
    show. `window_texts` may be masked texts.
    """
    pooled = np.concatenate([window, baseline]).astype(np.float64)
    centres, _ = kmeans(pooled, min(count, len(pooled)), iter=_RESTARTS, rng=rng)
    labels, _ = vq(pooled, centres)
    mine, theirs = labels[: len(window)], labels[len(window) :]
    present = [int(label) for label in np.unique(mine)]
    documents = [
        " ".join(window_texts[int(index)] for index in np.flatnonzero(mine == label)) for label in present
    ]
    found = []
    for label, top in zip(present, class_words(documents, count=words), strict=True):
        members = np.flatnonzero(mine == label)
        nearest = members[np.argsort(((pooled[members] - centres[label]) ** 2).sum(axis=1), kind="stable")]
        shares = float((mine == label).mean()), float((theirs == label).mean())
        found.append(
            Cluster(tuple(map(int, members)), tuple(map(int, nearest[:exemplars])), tuple(top), *shares)
        )
    return sorted(found, key=lambda cluster: -cluster.growth)


def class_words(documents: Sequence[str], *, count: int) -> list[list[str]]:
    """For each document (all texts of a class as one) its most characteristic words, by
    class-based TF-IDF.

    weight(word, class) = tf(word, class) log(1 + A / tf(word)), with A the mean number
    of words per class and tf(word) the count over all classes (Grootendorst 2022,
    BERTopic, arXiv:2203.05794, equation 2); tf(word, class) as a share of the class's
    words.
    """
    counts = [Counter(_WORD.findall(document.lower())) for document in documents]
    overall: Counter[str] = Counter()
    for counter in counts:
        overall.update(counter)
    average = overall.total() / max(1, len(documents))

    def weight(word: str, counter: Counter[str]) -> float:
        return counter[word] / counter.total() * log(1 + average / overall[word])

    return [sorted(counter, key=lambda word: (-weight(word, counter), word))[:count] for counter in counts]
