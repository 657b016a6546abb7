"""Fit the three readers and the model that weighs them, without letting any of them see
the source it is judged on.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.optimize import minimize
from scipy.special import expit
from sklearn.linear_model import LogisticRegression, SGDClassifier

from services.detection.prompt_attacks.model import (
    FEATURES,
    MAX_WINDOWS,
    Embeds,
    Weights,
    combine,
    readable_text,
    windows_to_embed,
)
from services.detection.prompt_attacks.ngrams import BUCKETS, buckets
from services.detection.prompt_attacks.normalise import Normalised, normalise
from services.detection.prompt_attacks.rules import Hit, RuleSet
from services.detection.prompt_attacks.windows import inline_text, windows
from services.detection.training.rows import Row

NGRAM_ALPHA, NGRAM_PASSES = 1e-5, 8
HEAD_C = 0.003
STACK_RIDGE = 0.0003
INNER_PARTS = 5
AUTHORED_SHARE = 0.7


@dataclass(frozen=True)
class Prepared:
    """Rows with everything computed that does not depend on a split.

    `whole`: (rows, BUCKETS) and `pieces`: (windows, BUCKETS), rows of length 1;
    `vectors`: (windows, 384); `first`: position of each row's first window, and one
    more at the end.
    """

    rows: list[Row]
    normalised: list[Normalised]
    hits: list[list[Hit]]
    whole: sparse.csr_matrix
    pieces: sparse.csr_matrix
    vectors: NDArray[np.float32]
    first: NDArray[np.int64]

    @property
    def labels(self) -> NDArray[np.int64]:
        """0 or 1 for each row."""
        return np.array([row.label for row in self.rows])


def prepare(rows: Sequence[Row], rules: RuleSet, embed: "CachedEmbed") -> Prepared:
    """Normalise, match, cut and embed every row once."""
    normalised = [normalise(inline_text(row.text)) for row in rows]
    texts = [readable_text(one) for one in normalised]
    cut = [windows(text, at_most=MAX_WINDOWS) for text in texts]
    flat = [piece for pieces in cut for piece in pieces]
    first = np.concatenate([[0], np.cumsum([len(pieces) for pieces in cut])])
    return Prepared(
        list(rows),
        normalised,
        [rules.match(one) for one in normalised],
        bucket_matrix(texts),
        bucket_matrix(flat),
        embed(flat),
        first,
    )


def bucket_matrix(texts: Sequence[str]) -> sparse.csr_matrix:
    """Hashed n-grams, each text's row scaled to length 1. Shape (n, BUCKETS), float32."""
    found = [buckets(text) for text in texts]
    counts = np.array([len(one) for one in found])
    values = np.repeat(1 / np.sqrt(np.maximum(counts, 1)), counts).astype(np.float32)
    return sparse.csr_matrix(
        (values, np.concatenate(found), np.concatenate([[0], np.cumsum(counts)])), shape=(len(texts), BUCKETS)
    )


@dataclass(frozen=True)
class Readers:
    """The n-gram model and the vector head of one fit."""

    ngram: NDArray[np.float64]
    ngram_bias: float
    head: NDArray[np.float64]
    head_bias: float


def fit_readers(data: Prepared, chosen: NDArray[np.int64]) -> Readers:
    """Fit both linear readers on the chosen rows, every source group weighing like the
    square root of its size, attacks and harmless rows the same in all.
    """
    labels = data.labels[chosen]
    weights = row_weights([data.rows[position] for position in chosen])
    features = data.whole[chosen]
    used = np.flatnonzero(np.asarray((features != 0).sum(0)).ravel() >= 2)
    linear = SGDClassifier(
        loss="log_loss",
        alpha=NGRAM_ALPHA,
        max_iter=NGRAM_PASSES,
        tol=None,
        average=True,
        learning_rate="constant",
        eta0=1.0,
        random_state=0,
    ).fit(features[:, used], labels, sample_weight=weights)
    ngram = np.zeros(BUCKETS)
    ngram[used] = linear.coef_[0]
    vectors = data.vectors[data.first[chosen]]
    mean, spread = vectors.mean(0), vectors.std(0) + 1e-6
    head = LogisticRegression(C=HEAD_C, max_iter=500).fit(
        (vectors - mean) / spread, labels, sample_weight=weights
    )
    slope = head.coef_[0] / spread
    return Readers(ngram, float(linear.intercept_[0]), slope, float(head.intercept_[0] - slope @ mean))


def row_weights(rows: Sequence[Row]) -> NDArray[np.float64]:
    """Weights with mean 1: a source counts like the square root of its size, an
    authored one seven tenths of that.

    Attacks and harmless rows weigh the same in all.
    """
    sizes: dict[tuple[str, int], int] = {}
    for row in rows:
        sizes[row.source, row.label] = sizes.get((row.source, row.label), 0) + 1
    weights = np.array(
        [sizes[row.source, row.label] ** -0.5 * (AUTHORED_SHARE if row.authored else 1.0) for row in rows]
    )
    labels = np.array([row.label for row in rows])
    for label in (0, 1):
        weights[labels == label] /= weights[labels == label].sum()
    scaled: NDArray[np.float64] = weights * len(rows) / 2
    return scaled


def signals(data: Prepared, chosen: NDArray[np.int64], readers: Readers) -> NDArray[np.float64]:
    """The weighing model's inputs for the chosen rows, as serving computes them.

    Shape (n, features).
    """
    whole = data.whole[chosen] @ readers.ngram + readers.ngram_bias
    piecewise = data.pieces @ readers.ngram + readers.ngram_bias
    vector = data.vectors @ readers.head + readers.head_bias
    result = np.zeros((len(chosen), len(FEATURES)))
    for place, position in enumerate(chosen):
        start, end = data.first[position], data.first[position + 1]
        embedded = start + np.array(windows_to_embed(piecewise[start:end].tolist()))
        result[place] = combine(
            data.normalised[position],
            data.hits[position],
            ngram_logits=(whole[place], *piecewise[start:end]),
            vector_logits=tuple(vector[embedded]),
        ).vector()
    return result


@dataclass(frozen=True)
class Fitted:
    """A fit, and what the weighing model saw: each row's signals from readers that had
    not seen its group.
    """

    readers: Readers
    stack: NDArray[np.float64]
    stack_bias: float
    held_out: NDArray[np.float64]

    def log_odds(self, inputs: NDArray[np.float64]) -> NDArray[np.float64]:
        """Weighed log-odds of rows of signals. Shape (n,)."""
        result: NDArray[np.float64] = inputs @ self.stack + self.stack_bias
        return result


def fit(data: Prepared, chosen: NDArray[np.int64]) -> Fitted:
    """Fit everything on the chosen rows: the weighing model on group-held-out signals,
    then the readers once more on all of them.
    """
    part = inner_parts([data.rows[position].group for position in chosen])
    held_out = np.zeros((len(chosen), len(FEATURES)))
    for number in range(int(part.max()) + 1):
        inside = part == number
        held_out[inside] = signals(data, chosen[inside], fit_readers(data, chosen[~inside]))
    stack, bias = fit_stack(
        held_out, data.labels[chosen], row_weights([data.rows[position] for position in chosen])
    )
    return Fitted(fit_readers(data, chosen), stack, bias, held_out)


def inner_parts(groups: Sequence[str], parts: int = INNER_PARTS) -> NDArray[np.int64]:
    """Which part each row belongs to: whole groups, dealt largest first to the smallest
    part.
    """
    sizes = sorted(Counter(groups).items(), key=lambda item: (-item[1], item[0]))
    totals = [0] * min(parts, len(sizes))
    home = {}
    for group, size in sizes:
        home[group] = totals.index(min(totals))
        totals[home[group]] += size
    return np.array([home[group] for group in groups])


def fit_stack(
    inputs: NDArray[np.float64], labels: NDArray[np.int64], weights: NDArray[np.float64]
) -> tuple[NDArray[np.float64], float]:
    """Logistic regression in which no signal of danger may count as a sign of
    innocence: coefficients ≥ 0, except for length and script.

    Minimises the weighted log-loss + STACK_RIDGE · |coefficients|² / 2 by L-BFGS-B
    (Byrd et al. 1995).
    """
    sign = np.where(labels == 1, 1.0, -1.0)
    share = weights / weights.sum()

    def loss(parameters: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        margin = sign * (inputs @ parameters[:-1] + parameters[-1])
        pull = -share * sign * expit(-margin)
        gradient = np.append(inputs.T @ pull + STACK_RIDGE * parameters[:-1], pull.sum())
        return float(
            share @ np.logaddexp(0, -margin) + STACK_RIDGE * parameters[:-1] @ parameters[:-1] / 2
        ), gradient

    bounds = [(None, None) if name in ("length", "foreign") else (0.0, None) for name in FEATURES]
    found = minimize(
        loss,
        np.zeros(len(FEATURES) + 1),
        jac=True,
        method="L-BFGS-B",
        bounds=[*bounds, (None, None)],
        options={"maxiter": 500},
    )
    return found.x[:-1], float(found.x[-1])


def to_weights(fitted: Fitted, *, version: str, anchors: tuple[float, float, float, float]) -> Weights:
    """The fit as the file that serving reads: n-gram weights as int8, clipped at their
    99.9th percentile of size.
    """
    ngram = fitted.readers.ngram
    limit = float(np.quantile(np.abs(ngram[ngram != 0]), 0.999))
    scale = limit / 127
    return Weights(
        version=version,
        ngram=np.clip(np.round(ngram / scale), -127, 127).astype(np.int8),
        ngram_scale=scale,
        ngram_bias=fitted.readers.ngram_bias,
        head=fitted.readers.head.astype(np.float32),
        head_bias=fitted.readers.head_bias,
        stack=fitted.stack,
        stack_bias=fitted.stack_bias,
        anchors=anchors,
    )


class CachedEmbed:
    """An encoder for many texts: sorted by length, in batches, every text once."""

    def __init__(self, encoder: Embeds, batch: int = 16) -> None:
        self._encoder = encoder
        self._batch = batch
        self.known: dict[str, NDArray[np.float32]] = {}

    def __call__(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Vectors of `texts`, in their order. Shape (n, 384)."""
        missing = sorted(set(texts) - self.known.keys(), key=lambda text: (len(text), text))
        for start in range(0, len(missing), self._batch):
            batch = missing[start : start + self._batch]
            self.known.update(zip(batch, self._encoder.embed(batch), strict=True))
        return np.stack([self.known[text] for text in texts])
