"""Fit what stands around the fine-tuned encoder and write a model folder, with fixed
seeds.

    python -m services.detection.training --data FILE... --tuned FOLDER [--out FOLDER]

`FOLDER` is what `services.detection.training.tuning` wrote. Writes encoder.onnx,
tokenizer.json and weights.npz; about two CPU-minutes.
"""

import argparse
import hashlib
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from services.detection.prompt_attacks.model import MODEL_FOLDER, Weights
from services.detection.prompt_attacks.rules import load_rules
from services.detection.training.authored import authored_rows
from services.detection.training.fit import (
    Ngrams,
    fit_ngrams,
    fit_stack,
    held_out_signals,
    int8_ngrams,
    prepare,
    read_held_out,
    row_weights,
)
from services.detection.training.rows import FINAL_LANGS, Row, read_rows
from services.detection.training.tuning.encoder import MeanPooled, export_encoder

FLAG_BENIGN, FLAG_HARD_BENIGN = 0.018, 0.085
CRITICAL_BENIGN, CRITICAL_HARD_BENIGN = 0.003, 0.02
CRITICAL_GAP = 0.5

Anchors = tuple[float, float, float, float]


@dataclass(frozen=True)
class Weighing:
    """The weighing model and the log-odds at which the four levels begin."""

    stack: NDArray[np.float64]
    bias: float
    anchors: Anchors


def main() -> None:
    """Read the arguments, train, say how long it took."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument(
        "--data",
        type=Path,
        nargs="+",
        required=True,
        help="labelled prompts, JSON lines with text, label, category, lang, source",
    )
    parser.add_argument("--tuned", type=Path, required=True, help="tuned.npz and held_out.npz")
    parser.add_argument("--out", type=Path, default=MODEL_FOLDER)
    arguments = parser.parse_args()
    started = time.process_time()
    rows = [row for path in arguments.data for row in read_rows(path)]
    weights = train(rows, arguments.tuned, arguments.out)
    print(
        f"{arguments.out / 'weights.npz'}: version {weights.version}, {time.process_time() - started:.0f} "
        "CPU-seconds"
    )


def train(rows: list[Row], tuned: Path, folder: Path) -> Weights:
    """Export the encoder, fit on `rows` and the authored supplement, write everything
    into `folder`.
    """
    with np.load(tuned / "tuned.npz", allow_pickle=False) as stored:
        learnt = {name: stored[name] for name in stored.files}
    tokenizer: Mapping[str, Any] = json.loads(str(learnt.pop("tokenizer")))
    head, head_bias = learnt.pop("head"), float(learnt.pop("head_bias"))
    export_encoder(MeanPooled(learnt), tokenizer, folder)
    data = prepare(training_rows(rows), load_rules(), read_held_out(tuned / "held_out.npz"))
    inputs = held_out_signals(data)
    weighing = weigh([data.rows[position] for position in data.judged], inputs)
    ngrams = fit_ngrams(data, np.arange(len(data.rows)))
    weights = to_weights(ngrams, (head, head_bias), weighing, _version(folder, ngrams, weighing))
    save(weights, folder / "weights.npz")
    return weights


def training_rows(rows: list[Row]) -> list[Row]:
    """The rows to fit on: those given, and the authored ones."""
    return [*rows, *authored_rows()]


def weigh(rows: Sequence[Row], inputs: NDArray[np.float64]) -> Weighing:
    """Fit the weighing model on held-out signals, and read the levels off its scores."""
    labels = np.array([row.label for row in rows])
    stack, bias = fit_stack(inputs, labels, row_weights(rows))
    return Weighing(stack, bias, anchors(rows, inputs @ stack + bias))


def anchors(rows: Sequence[Row], scores: NDArray[np.float64]) -> Anchors:
    """The log-odds at which low, medium, high and critical begin, read off the
    group-held-out scores of harmless rows, each source weighing like the square root of
    its size.

    Medium flags, so it keeps to the shares of ordinary and hard harmless rows that may
    be flagged; critical blocks, so its shares are far smaller. The languages that are
    held out with the final group are left out: the model that is shipped has seen them.
    """
    kept = np.array([row.label == 0 and row.lang not in FINAL_LANGS for row in rows])
    hard = np.array([row.hard_benign for row in rows])
    weights = row_weights(rows)

    def beyond(chosen: NDArray[np.bool_], share: float) -> float:
        return upper_quantile(scores[chosen], weights[chosen], share) if chosen.any() else -np.inf

    medium = max(beyond(kept & ~hard, FLAG_BENIGN), beyond(kept & hard, FLAG_HARD_BENIGN))
    critical = max(
        beyond(kept & ~hard, CRITICAL_BENIGN),
        beyond(kept & hard, CRITICAL_HARD_BENIGN),
        medium + CRITICAL_GAP,
    )
    low = min(beyond(kept & ~hard, 0.05), medium - 0.5)
    return low, medium, (medium + critical) / 2, critical


def upper_quantile(values: NDArray[np.float64], weights: NDArray[np.float64], share: float) -> float:
    """The value that `share` of the weight lies above."""
    order = np.argsort(values)
    total = np.cumsum(weights[order]) / weights.sum()
    place = min(int(np.searchsorted(total, 1 - share)), len(values) - 1)
    return float(values[order][place])


def to_weights(
    ngrams: Ngrams, head: tuple[NDArray[np.float32], float], weighing: Weighing, version: str
) -> Weights:
    """Everything learnt as the file that serving reads."""
    ngram, scale = int8_ngrams(ngrams)
    return Weights(
        version=version,
        ngram=ngram,
        ngram_scale=scale,
        ngram_bias=ngrams.bias,
        head=head[0].astype(np.float32),
        head_bias=head[1],
        stack=weighing.stack,
        stack_bias=weighing.bias,
        anchors=weighing.anchors,
    )


def save(weights: Weights, path: Path) -> None:
    """Write the file that `Weights.load` reads."""
    np.savez_compressed(
        path,
        version=np.array(weights.version),
        ngram=weights.ngram,
        ngram_scale=np.array(weights.ngram_scale),
        ngram_bias=np.array(weights.ngram_bias),
        head=weights.head,
        head_bias=np.array(weights.head_bias),
        stack=weights.stack,
        stack_bias=np.array(weights.stack_bias),
        anchors=np.array(weights.anchors),
    )


def _version(folder: Path, ngrams: Ngrams, weighing: Weighing) -> str:
    """A name that changes with the encoder or any learnt weight."""
    digest = hashlib.sha256((folder / "encoder.onnx").read_bytes())
    for learnt in (ngrams.weights, weighing.stack, np.array(weighing.anchors)):
        digest.update(np.round(learnt, 6).tobytes())
    return f"prompt-{digest.hexdigest()[:12]}"
