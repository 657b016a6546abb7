"""The calibrated model: what the encoder and the rules say about a text, weighed into
one probability.

A linear model over hashed n-grams reads the whole text and picks the windows worth the
encoder's time; the fine-tuned encoder judges those; the rules know verb and target. A
small logistic model weighs the three, fitted on what encoder and n-grams said about
*sources that they had not seen*.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from services.detection.prompt_attacks.encoder import Encoder
from services.detection.prompt_attacks.ngrams import buckets
from services.detection.prompt_attacks.normalise import Normalised, fold
from services.detection.prompt_attacks.rules import Hit
from services.detection.prompt_attacks.windows import said_once, windows

MODEL_FOLDER = Path(__file__).with_name("models")
FEATURES = (
    "vector_highest",
    "rule_points",
    "context_points",
    "strongest_rule",
    "categories",
    "disguise",
    "ngram_whole",
)
QUOTED_SHARE = 0.4
MAX_WINDOWS = 12


class Embeds(Protocol):
    """What turns texts into vectors; `Encoder` at run time, a cache while training."""

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """One vector per text, shape (n, 384)."""


@dataclass(frozen=True, slots=True)
class Signals:
    """What each reader said.

    Logits are log-odds, natural logarithm; points are score points.
    """

    ngram_whole: float
    ngram_highest: float
    vector_highest: float
    rule_points: float
    context_points: float
    strongest_rule: float
    categories: int
    disguise: float

    def vector(self) -> NDArray[np.float64]:
        """The signals as the weighing model's input, in the order of FEATURES, scaled
        to a few units. Shape (7,).
        """
        return np.array(
            [
                np.clip(self.vector_highest, -6, 6),
                min(self.rule_points, 30) / 10,
                max(self.context_points, -10) / 10,
                self.strongest_rule / 10,
                min(self.categories, 3),
                self.disguise,
                np.clip(self.ngram_whole, -6, 6),
            ]
        )


@dataclass(frozen=True, slots=True)
class Weights:
    """Everything that was learnt.

    `ngram`: (BUCKETS,) int8, times `ngram_scale`; `head`: (384,); `stack`: (7,);
    `anchors`: log-odds of the four levels.
    """

    version: str
    ngram: NDArray[np.int8]
    ngram_scale: float
    ngram_bias: float
    head: NDArray[np.float32]
    head_bias: float
    stack: NDArray[np.float64]
    stack_bias: float
    anchors: tuple[float, float, float, float]

    @classmethod
    def load(cls, path: Path) -> "Weights":
        """Read the file that training wrote."""
        with np.load(path, allow_pickle=False) as stored:
            return cls(
                version=str(stored["version"]),
                ngram=stored["ngram"],
                ngram_scale=float(stored["ngram_scale"]),
                ngram_bias=float(stored["ngram_bias"]),
                head=stored["head"],
                head_bias=float(stored["head_bias"]),
                stack=stored["stack"],
                stack_bias=float(stored["stack_bias"]),
                anchors=tuple(float(anchor) for anchor in stored["anchors"]),  # type: ignore[arg-type]  # four by construction
            )


class PromptModel:
    """Weights and encoder, ready to judge."""

    def __init__(self, weights: Weights, encoder: Embeds) -> None:
        self.weights = weights
        self._encoder = encoder

    @classmethod
    def load(cls, folder: Path = MODEL_FOLDER) -> "PromptModel":
        """Read a model folder (weights.npz, encoder.onnx, tokenizer.json)."""
        return cls(Weights.load(folder / "weights.npz"), Encoder(folder))

    def signals(self, normalised: Normalised, hits: Sequence[Hit], *, windows_judged: int = 1) -> Signals:
        """Read a normalised text: n-grams over all its windows, the encoder over the
        `windows_judged` most suspicious ones.
        """
        pieces = pieces_of(normalised)
        whole = self.ngram_logit(readable_text(normalised))
        piecewise = [whole] if len(pieces) == 1 else [self.ngram_logit(fold(piece)) for piece in pieces]
        chosen = windows_to_embed(piecewise, windows_judged)
        logits = self._encoder.embed([pieces[index] for index in chosen]) @ self.weights.head
        return combine(
            normalised,
            hits,
            ngram_logits=(whole, *piecewise),
            vector_highest=float(logits.max()) + self.weights.head_bias,
        )

    def ngram_logit(self, text: str) -> float:
        """Log-odds of an attack as the n-grams of a folded text have it."""
        found = buckets(text)
        total = int(self.weights.ngram[found].sum(dtype=np.int64)) * self.weights.ngram_scale
        return total / math.sqrt(max(1, len(found))) + self.weights.ngram_bias

    def log_odds(self, signals: Signals) -> float:
        """The weighed log-odds of an attack."""
        return float(signals.vector() @ self.weights.stack) + self.weights.stack_bias


def windows_to_embed(piecewise: Sequence[float], count: int) -> list[int]:
    """Which windows the encoder reads: the `count` that the n-grams suspect most.

    The encoder is by far the dearest reader (6 ms a window).
    """
    return sorted(range(len(piecewise)), key=lambda index: -piecewise[index])[:count]


def combine(
    normalised: Normalised,
    hits: Sequence[Hit],
    *,
    ngram_logits: Sequence[float],
    vector_highest: float,
) -> Signals:
    """Put what the readers said together.

    `ngram_logits`: of the whole, then of each window.
    """
    attacks = [hit for hit in hits if hit.rule.weight > 0]
    return Signals(
        ngram_whole=ngram_logits[0],
        ngram_highest=max(ngram_logits),
        vector_highest=vector_highest,
        rule_points=sum(map(points, attacks)),
        context_points=sum(hit.rule.weight for hit in hits if hit.rule.weight < 0),
        strongest_rule=max(map(points, attacks), default=0.0),
        categories=len({hit.rule.category for hit in attacks}),
        disguise=math.log1p(normalised.hidden + normalised.lookalikes + normalised.leet),
    )


def points(hit: Hit) -> float:
    """What a hit adds to the score: its rule's weight, or two fifths of it inside
    quotation marks, unless the payload itself is what counts.
    """
    return (
        hit.rule.weight * QUOTED_SHARE
        if hit.quoted and hit.rule.category not in ("code_injection", "indirect_injection", "context")
        else hit.rule.weight
    )


def readable_text(normalised: Normalised) -> str:
    """What the models read: the plain view, or the undisguised one where a good part of
    the words was disguised.
    """
    plain = normalised.plain.text
    if (
        len(normalised.views) > 1
        and normalised.views[1].kind == "undisguised"
        and normalised.leet >= max(1.0, 0.12 * len(plain.split()))
    ):
        return normalised.views[1].text
    return plain


def pieces_of(normalised: Normalised) -> list[str]:
    """The windows that the models read, with their accents where nothing was disguised,
    and behind them what had been encoded.
    """
    readable = readable_text(normalised)
    disguised = normalised.lookalikes or readable is not normalised.plain.text
    text = readable if disguised else normalised.clean
    pieces = [said_once(piece) for piece in windows(text, at_most=MAX_WINDOWS)]
    pieces.extend(view.text for view in normalised.views[1:] if view.kind not in ("plain", "undisguised"))
    return pieces


@lru_cache(maxsize=2)
def load_model(folder: Path = MODEL_FOLDER) -> PromptModel:
    """The model of a folder, read once per process."""
    return PromptModel.load(folder)
