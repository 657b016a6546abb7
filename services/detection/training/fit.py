"""Fit the n-grams and the model that weighs encoder and rules, without letting either be
judged on a source that it saw.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.optimize import minimize
from scipy.special import expit
from sklearn.linear_model import SGDClassifier

from services.detection.prompt_attacks.model import (
    FEATURES,
    combine,
    pieces_of,
    readable_text,
    windows_to_embed,
)
from services.detection.prompt_attacks.ngrams import BUCKETS, buckets
from services.detection.prompt_attacks.normalise import Normalised, fold, normalise
from services.detection.prompt_attacks.rules import Hit, RuleSet
from services.detection.prompt_attacks.windows import inline_text
from services.detection.training.rows import Row

NGRAM_ALPHA, NGRAM_PASSES = 1e-5, 8
STACK_RIDGE = 0.0003
LEAST = {"context_points": 2.5}
AUTHORED_SHARE = 0.7


@dataclass(frozen=True)
class Prepared:
    """Rows with everything computed that does not depend on a split.

    `whole`: (rows, BUCKETS) and `pieces`: (windows, BUCKETS), rows of length 1;
    `logits`: (windows,), what an encoder fitted without the row's group said of each
    window, NaN where none did; `first`: position of each row's first window, and one
    more at the end.
    """

    rows: list[Row]
    normalised: list[Normalised]
    hits: list[list[Hit]]
    whole: sparse.csr_matrix
    pieces: sparse.csr_matrix
    logits: NDArray[np.float64]
    first: NDArray[np.int64]

    @property
    def labels(self) -> NDArray[np.int64]:
        """0 or 1 for each row."""
        return np.array([row.label for row in self.rows])

    @property
    def judged(self) -> NDArray[np.int64]:
        """The rows that an encoder judged that had not seen their group."""
        return np.flatnonzero(np.isfinite(self.logits[self.first[:-1]]))


def prepare(rows: Sequence[Row], rules: RuleSet, held_out: Mapping[str, NDArray[np.float32]]) -> Prepared:
    """Normalise, match and cut every row once; `held_out`: window logits by `row_key`."""
    normalised = [normalise(inline_text(row.text)) for row in rows]
    cut = [pieces_of(one) for one in normalised]
    first = np.concatenate([[0], np.cumsum([len(pieces) for pieces in cut])])
    logits = np.full(first[-1], np.nan)
    for position, row in enumerate(rows):
        known = held_out.get(row_key(row.text))
        if known is not None and len(known) == len(cut[position]):
            logits[first[position] : first[position + 1]] = known
    return Prepared(
        list(rows),
        normalised,
        [rules.match(one) for one in normalised],
        bucket_matrix([readable_text(one) for one in normalised]),
        bucket_matrix([fold(piece) for pieces in cut for piece in pieces]),
        logits,
        first,
    )


def row_key(text: str) -> str:
    """What a row is called in the file of held-out logits."""
    return hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()[:16]


def read_held_out(path: Path) -> dict[str, NDArray[np.float32]]:
    """Window logits by `row_key`, as fine-tuning wrote them."""
    with np.load(path, allow_pickle=False) as stored:
        logits, counts = stored["logits"].astype(np.float32), stored["counts"]
        return dict(zip(stored["keys"].tolist(), np.split(logits, np.cumsum(counts)[:-1]), strict=True))


def bucket_matrix(texts: Sequence[str]) -> sparse.csr_matrix:
    """Hashed n-grams, each text's row scaled to length 1. Shape (n, BUCKETS), float32."""
    found = [buckets(text) for text in texts]
    counts = np.array([len(one) for one in found])
    values = np.repeat(1 / np.sqrt(np.maximum(counts, 1)), counts).astype(np.float32)
    return sparse.csr_matrix(
        (values, np.concatenate(found), np.concatenate([[0], np.cumsum(counts)])), shape=(len(texts), BUCKETS)
    )


@dataclass(frozen=True)
class Ngrams:
    """The n-gram model of one fit."""

    weights: NDArray[np.float64]
    bias: float


def fit_ngrams(data: Prepared, chosen: NDArray[np.int64]) -> Ngrams:
    """Fit the n-grams on the chosen rows, every source weighing like the square root of
    its size, attacks and harmless rows the same in all.
    """
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
    ).fit(
        features[:, used],
        data.labels[chosen],
        sample_weight=row_weights([data.rows[position] for position in chosen]),
    )
    weights = np.zeros(BUCKETS)
    weights[used] = linear.coef_[0]
    return Ngrams(weights, float(linear.intercept_[0]))


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


def signals(data: Prepared, chosen: NDArray[np.int64], ngrams: Ngrams) -> NDArray[np.float64]:
    """The weighing model's inputs for the chosen rows, as the inline depth computes
    them. Shape (n, features).
    """
    whole = data.whole[chosen] @ ngrams.weights + ngrams.bias
    piecewise = data.pieces @ ngrams.weights + ngrams.bias
    result = np.zeros((len(chosen), len(FEATURES)))
    for place, position in enumerate(chosen):
        start, end = data.first[position], data.first[position + 1]
        window = start + windows_to_embed(piecewise[start:end].tolist(), 1)[0]
        result[place] = combine(
            data.normalised[position],
            data.hits[position],
            ngram_logits=(whole[place], *piecewise[start:end]),
            vector_highest=float(data.logits[window]),
        ).vector()
    return result


def held_out_signals(data: Prepared) -> NDArray[np.float64]:
    """The signals of every judged row, from readers that had not seen its group.

    Shape (judged rows, features).
    """
    judged = data.judged
    groups = np.array([row.group for row in data.rows])
    result = np.zeros((len(judged), len(FEATURES)))
    for group in sorted(set(groups[judged])):
        inside = groups[judged] == group
        ngrams = fit_ngrams(data, np.flatnonzero(groups != group))
        result[inside] = signals(data, judged[inside], ngrams)
    return result


def fit_stack(
    inputs: NDArray[np.float64], labels: NDArray[np.int64], weights: NDArray[np.float64]
) -> tuple[NDArray[np.float64], float]:
    """Logistic regression in which no signal of danger may count as a sign of
    innocence: all coefficients are ≥ 0. That of what speaks for innocence is at least
    `LEAST`: contracts, novels and notices are rare among the rows, not in the world.

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

    found = minimize(
        loss,
        np.zeros(len(FEATURES) + 1),
        jac=True,
        method="L-BFGS-B",
        bounds=[*[(LEAST.get(name, 0.0), None) for name in FEATURES], (None, None)],
        options={"maxiter": 500},
    )
    return found.x[:-1], float(found.x[-1])


def int8_ngrams(ngrams: Ngrams) -> tuple[NDArray[np.int8], float]:
    """The weights as int8, clipped at their 99.9th percentile of size, and their scale."""
    limit = float(np.quantile(np.abs(ngrams.weights[ngrams.weights != 0]), 0.999))
    scale = limit / 127
    return np.clip(np.round(ngrams.weights / scale), -127, 127).astype(np.int8), scale
