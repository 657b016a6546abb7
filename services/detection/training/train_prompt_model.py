"""Train the prompt detector in one command, with fixed seeds.

    python -m services.detection.training --data prompts.jsonl [--out FOLDER]

Writes encoder.onnx, tokenizer.json and weights.npz. The figures of the model card come
from `python -m tests.benchmarks.detection --cv`.
"""

import argparse
import hashlib
import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from services.detection.prompt_attacks.encoder import Encoder
from services.detection.prompt_attacks.model import MODEL_FOLDER, Weights
from services.detection.prompt_attacks.rules import load_rules
from services.detection.training.authored import authored_rows
from services.detection.training.encoder import MeanPooled, export_encoder
from services.detection.training.fit import CachedEmbed, Fitted, Prepared, fit, prepare, to_weights
from services.detection.training.rows import Row, read_rows

FLAG_BENIGN, FLAG_HARD_BENIGN = 0.015, 0.06
CRITICAL_BENIGN, CRITICAL_HARD_BENIGN = 0.0025, 0.012


def main() -> None:
    """Read the arguments, train, say how long it took."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument(
        "--data",
        type=Path,
        required=True,
        help="labelled prompts, JSON lines with text, label, category, lang, source",
    )
    parser.add_argument("--out", type=Path, default=MODEL_FOLDER)
    arguments = parser.parse_args()
    started = time.process_time()
    weights = train(read_rows(arguments.data), arguments.out)
    print(
        f"{arguments.out / 'weights.npz'}: version {weights.version}, {time.process_time() - started:.0f} "
        "CPU-seconds"
    )


def train(rows: list[Row], folder: Path) -> Weights:
    """Export the encoder, fit on `rows` and the authored supplement, write everything
    into `folder`.
    """
    export_encoder(MeanPooled(), folder)
    data = prepare(training_rows(rows), load_rules(), CachedEmbed(Encoder(folder)))
    fitted = fit(data, np.arange(len(data.rows)))
    weights = to_weights(
        fitted, version=_version(folder, fitted), anchors=anchors(data, np.arange(len(data.rows)), fitted)
    )
    save(weights, folder / "weights.npz")
    return weights


def training_rows(rows: list[Row]) -> list[Row]:
    """The rows to fit on: those given, and the authored ones."""
    return [*rows, *authored_rows()]


def anchors(data: Prepared, chosen: NDArray[np.int64], fitted: Fitted) -> tuple[float, float, float, float]:
    """The log-odds at which low, medium, high and critical begin, read off the
    group-held-out scores of harmless rows.

    Medium flags, so it keeps to the shares of ordinary and hard harmless rows that may
    be flagged; critical blocks, so its shares are far smaller.
    """
    scores = fitted.log_odds(fitted.held_out)
    labels = data.labels[chosen]
    hard = np.array([data.rows[position].hard_benign for position in chosen])
    given = np.array([not data.rows[position].authored for position in chosen])
    plain, tricky = scores[(labels == 0) & ~hard & given], scores[hard & given]
    medium = max(np.quantile(plain, 1 - FLAG_BENIGN), np.quantile(tricky, 1 - FLAG_HARD_BENIGN))
    critical = max(
        np.quantile(plain, 1 - CRITICAL_BENIGN), np.quantile(tricky, 1 - CRITICAL_HARD_BENIGN), medium + 1.0
    )
    low = min(np.quantile(plain, 0.95), medium - 0.5)
    return float(low), float(medium), float((medium + critical) / 2), float(critical)


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


def _version(folder: Path, fitted: Fitted) -> str:
    """A name that changes with the encoder or any learnt weight."""
    digest = hashlib.sha256((folder / "encoder.onnx").read_bytes())
    for learnt in (fitted.readers.ngram, fitted.readers.head, fitted.stack):
        digest.update(np.round(learnt, 6).tobytes())
    return f"prompt-{digest.hexdigest()[:12]}"


if __name__ == "__main__":
    main()
