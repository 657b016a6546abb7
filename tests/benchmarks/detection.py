"""How well the prompt detector tells attacks from harmless prompts, and what a verdict
costs.

    python -m tests.benchmarks.detection --data prompts.jsonl --out detection.json [--plots DIR]
    python -m tests.benchmarks.detection --data FILE... --out detection.json --cv held_out.npz

The first judges files with the committed model, which is only fair for prompts that it
was not trained on. The second is for the training files: each group of sources is
judged by n-grams, weighing and thresholds fitted without that group, over what
fine-tuning (`python -m services.detection.training.tuning`) wrote down that an encoder
said which had not seen the group either. Both go through `PromptDetector.inspect`, as
serving does.

The file has one JSON object a line: text, label (1: attack); category (`hard_benign`
marks harmless prompts that look like attacks), lang and source where known. Beside each
figure stands what it may be for other sources: 90 % of the draws, with replacement, from
the sources of the file. They say how far the sources differ, not how far they all are
from those that nobody here has seen.
"""

import argparse
import json
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score, roc_curve

from services.detection.prompt_attacks.detector import Action, Level, PromptDetector, Verdict
from services.detection.prompt_attacks.model import MODEL_FOLDER, PromptModel
from services.detection.prompt_attacks.rules import load_rules
from services.detection.training.rows import Row, folds, read_rows

TIMED = 1000
DRAWS = 300
LANGUAGES_FPR = 0.03
TOKENS_TIMED = 256


def main() -> None:
    """Read the arguments, measure, print, write."""
    parser = argparse.ArgumentParser(description="Error rates and cost of the prompt detector.")
    parser.add_argument("--data", type=Path, nargs="+", required=True)
    parser.add_argument("--out", type=Path, help="where to write the figures as JSON")
    parser.add_argument(
        "--cv", type=Path, help="source-held-out, over the encoders' held_out.npz: each group without itself"
    )
    parser.add_argument(
        "--plots", type=Path, help="folder for detection-roc.png and detection-reliability.png"
    )
    arguments = parser.parse_args()
    rows = [row for path in arguments.data for row in read_rows(path)]
    detector = PromptDetector.load()
    verdicts = (
        cross_validated(rows, arguments.cv) if arguments.cv else [detector.inspect(row.text) for row in rows]
    )
    report = figures(rows, verdicts) | {
        "intervals": intervals(rows, verdicts),
        "cpu_ms": costs(rows, detector),
        "n": len(rows),
    }
    if arguments.out:
        arguments.out.write_text(json.dumps(report, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    print(table(report))
    if arguments.plots:
        plot(rows, verdicts, arguments.plots)


class HeldOut:
    """Stands for an encoder: gives each window the log-odds that an encoder gave it
    which had not seen its group, as a vector of one.
    """

    def __init__(self, logits: Mapping[str, float]) -> None:
        self._logits = logits

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Shape (n, 1)."""
        return np.array([[self._logits[text]] for text in texts], dtype=np.float32)


def cross_validated(rows: Sequence[Row], held_out: Path) -> list[Verdict]:
    """Each row's verdict from a detector fitted without the row's group of sources.

    The final group takes part in no fit but its own.
    """
    from services.detection.training.fit import fit_ngrams, held_out_signals, prepare, read_held_out
    from services.detection.training.rows import FINAL
    from services.detection.training.train_prompt_model import to_weights, training_rows, weigh

    rules = load_rules()
    data = prepare(training_rows(list(rows)), rules, read_held_out(held_out))
    groups = np.array([row.group for row in data.rows])
    inputs, judged = held_out_signals(data), data.judged
    verdicts: list[Verdict | None] = [None] * len(rows)
    for group, members in folds(rows):
        kept = (groups[judged] != group) & (groups[judged] != FINAL)
        weighing = weigh([data.rows[position] for position in judged[kept]], inputs[kept])
        ngrams = fit_ngrams(data, np.flatnonzero((groups != group) & (groups != FINAL)))
        head = (np.ones(1, np.float32), 0.0)
        weights = to_weights(ngrams, head, weighing, f"without-{group}")
        detector = PromptDetector(rules, PromptModel(weights, HeldOut(window_logits(data, members))))
        for member in members:
            verdicts[member] = detector.inspect(rows[member].text)
        print(f"held out: {group} ({len(members)} prompts)", flush=True)
    return [verdict for verdict in verdicts if verdict is not None]


def window_logits(data: Any, members: Sequence[int]) -> dict[str, float]:
    """What was said of each window of the rows; of a window in several, the mean."""
    from services.detection.prompt_attacks.model import pieces_of

    said: dict[str, list[float]] = {}
    for member in members:
        for place, piece in enumerate(pieces_of(data.normalised[member])):
            said.setdefault(piece, []).append(float(data.logits[data.first[member] + place]))
    return {piece: float(np.mean(logits)) for piece, logits in said.items()}


def figures(rows: Sequence[Row], verdicts: Sequence[Verdict]) -> dict[str, Any]:
    """Every error rate of the report. A rate over nothing is None."""
    labels = np.array([row.label for row in rows])
    hard = np.array([row.hard_benign for row in rows])
    score = np.array([ranking(verdict) for verdict in verdicts])
    flagged = np.array([verdict.action is not Action.ALLOW for verdict in verdicts])
    critical = np.array([verdict.level is Level.CRITICAL for verdict in verdicts])
    attacks, benign = labels == 1, (labels == 0) & ~hard
    precision, recall = share(attacks[flagged]), share(flagged[attacks])
    both = bool(attacks.any() and (~attacks).any())
    return {
        "precision": precision,
        "recall": recall,
        "f1": None if not precision or not recall else 2 * precision * recall / (precision + recall),
        "auc": float(roc_auc_score(labels, score)) if both else None,
        "recall_at_1pct_fpr": recall_at(labels, score, 0.01) if both else None,
        "recall_at_3pct_fpr": languages(rows, score),
        "fpr": {"benign": share(flagged[benign]), "hard_benign": share(flagged[hard])},
        "critical": {
            "precision": share(attacks[critical]),
            "recall": share(critical[attacks]),
            "fpr_benign": share(critical[benign]),
            "fpr_hard_benign": share(critical[hard]),
        },
        "by_category": {
            name: {"recall": share(flagged[inside & attacks])}
            for name, inside in _members(rows, lambda row: row.category, attacks)
        },
        "by_source": {
            name: {"recall": share(flagged[inside & attacks]), "fpr": share(flagged[inside & ~attacks])}
            for name, inside in _members(rows, lambda row: row.source, np.ones(len(rows), dtype=bool))
        },
        "by_lang": {
            name: {"recall": share(flagged[inside & attacks]), "fpr": share(flagged[inside & ~attacks])}
            for name, inside in _members(rows, lambda row: row.lang, np.ones(len(rows), dtype=bool))
        },
    }


def languages(rows: Sequence[Row], score: NDArray[np.float64]) -> dict[str, float | None]:
    """Recall where 3 % of the harmless prompts are flagged: of French ones, and of all
    in other languages than English and French.
    """
    labels = np.array([row.label for row in rows])
    names = np.array([row.lang for row in rows])
    found: dict[str, float | None] = {}
    for name, inside in (("fr", names == "fr"), ("other", ~np.isin(names, ("fr", "en", "unknown")))):
        both = len(set(labels[inside].tolist())) == 2
        found[name] = recall_at(labels[inside], score[inside], LANGUAGES_FPR) if both else None
    return found


def intervals(rows: Sequence[Row], verdicts: Sequence[Verdict]) -> dict[str, tuple[float, float]]:
    """Between which values the chief figures lie in nine of ten draws of the sources
    with replacement (percentile bootstrap over clusters; Efron & Tibshirani 1993, 13.3).
    """
    members: dict[str, list[int]] = {}
    for position, row in enumerate(rows):
        members.setdefault(row.source, []).append(position)
    rng, names = np.random.default_rng(0), sorted(members)
    drawn: dict[str, list[float]] = {}
    for _ in range(DRAWS if len(names) > 1 else 0):
        chosen = [place for name in rng.choice(names, len(names)) for place in members[name]]
        for name, value in _chief([rows[place] for place in chosen], [verdicts[place] for place in chosen]):
            drawn.setdefault(name, []).append(value)
    return {
        name: (float(np.quantile(values, 0.05)), float(np.quantile(values, 0.95)))
        for name, values in drawn.items()
    }


def _chief(rows: Sequence[Row], verdicts: Sequence[Verdict]) -> list[tuple[str, float]]:
    """The figures that there is a bar for, as far as these rows have them."""
    labels = np.array([row.label for row in rows])
    hard = np.array([row.hard_benign for row in rows])
    score = np.array([ranking(verdict) for verdict in verdicts])
    flagged = np.array([verdict.action is not Action.ALLOW for verdict in verdicts])
    critical = np.array([verdict.level is Level.CRITICAL for verdict in verdicts])
    both = 0 < labels.sum() < len(labels)
    caught = int((flagged & (labels == 1)).sum())
    found = {
        "auc": float(roc_auc_score(labels, score)) if both else None,
        "recall_at_1pct_fpr": recall_at(labels, score, 0.01) if both else None,
        "f1": 2 * caught / (int(flagged.sum()) + int(labels.sum())) if caught else None,
        "fpr benign": share(flagged[(labels == 0) & ~hard]),
        "fpr hard_benign": share(flagged[hard]),
        "critical precision": share(labels[critical] == 1),
        "critical recall": share(critical[labels == 1]),
        **{f"recall_at_3pct_fpr {name}": value for name, value in languages(rows, score).items()},
    }
    return [(name, value) for name, value in found.items() if value is not None]


def ranking(verdict: Verdict) -> float:
    """What orders prompts from harmless to dangerous: the model's log-odds."""
    chance = min(max(verdict.probability, 1e-12), 1 - 1e-12)
    return float(np.log(chance / (1 - chance)))


def recall_at(labels: NDArray[np.int64], score: NDArray[np.float64], allowed: float) -> float:
    """The highest share of attacks that some threshold catches while it flags at most
    `allowed` of the harmless prompts.
    """
    false, true, _ = roc_curve(labels, score, drop_intermediate=False)
    return float(true[false <= allowed].max())


def share(chosen: NDArray[np.bool_]) -> float | None:
    """The mean of truth values; None of none."""
    return float(chosen.mean()) if len(chosen) else None


def _members(
    rows: Sequence[Row], name: Callable[[Row], str], kept: NDArray[np.bool_]
) -> list[tuple[str, NDArray[np.bool_]]]:
    names = np.array([name(row) for row in rows])
    return [(str(value), names == value) for value in sorted(set(names[kept]))]


def costs(rows: Sequence[Row], detector: PromptDetector) -> dict[str, dict[str, float]]:
    """CPU milliseconds of a verdict by rules alone and of a whole inline one, for
    prompts of up to 256 tokens, on one core.
    """
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(MODEL_FOLDER / "tokenizer.json"))
    tokenizer.no_truncation()
    step = max(1, len(rows) // TIMED)
    texts = [
        row.text
        for row in rows[::step]
        if len(row.text) < 4 * 8 * TOKENS_TIMED and len(tokenizer.encode(row.text).ids) <= TOKENS_TIMED
    ][:TIMED]
    return {
        "rules": _percentiles(detector.rules_only, texts),
        "inline": _percentiles(detector.inspect, texts),
    }


def _percentiles(judge: Callable[[str], Verdict], texts: Sequence[str]) -> dict[str, float]:
    for text in texts[:20]:
        judge(text)
    spent = []
    for text in texts:
        started = time.process_time_ns()
        judge(text)
        spent.append((time.process_time_ns() - started) / 1e6)
    return {f"p{level}": round(float(np.percentile(spent, level)), 3) for level in (50, 95, 99)}


def table(report: dict[str, Any]) -> str:
    """The report for people."""
    lines = [f"{'prompts':28}{report['n']:>8}"]
    lines.extend(
        f"{key:28}{_number(report[key])}"
        for key in ("precision", "recall", "f1", "auc", "recall_at_1pct_fpr")
    )
    for key in ("recall_at_3pct_fpr", "fpr", "critical"):
        lines.extend(f"{key + ' ' + name:28}{_number(value)}" for name, value in report[key].items())
    lines.extend(
        f"{'90 % ' + name:28}{_number(low)} to{_number(high)}"
        for name, (low, high) in report.get("intervals", {}).items()
    )
    lines.extend(
        f"{'recall ' + name:28}{_number(value['recall'])}" for name, value in report["by_category"].items()
    )
    lines.extend(
        f"{'lang ' + name:28}{_number(value['recall'])}   fpr {_number(value['fpr'])}"
        for name, value in report["by_lang"].items()
    )
    lines.extend(
        f"{'cpu ms ' + name:28}{value['p50']:8.2f} p50 {value['p95']:8.2f} p95 {value['p99']:8.2f} p99"
        for name, value in report["cpu_ms"].items()
    )
    return "\n".join(lines)


def _number(value: float | None) -> str:
    return f"{value:8.3f}" if value is not None else f"{'-':>8}"


def plot(rows: Sequence[Row], verdicts: Sequence[Verdict], folder: Path) -> None:
    """Write detection-roc.png (the low false-positive end enlarged beside it) and
    detection-reliability.png.
    """
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    folder.mkdir(parents=True, exist_ok=True)
    labels = np.array([row.label for row in rows])
    false, true, _ = roc_curve(labels, [ranking(verdict) for verdict in verdicts])
    figure, (whole, low) = plt.subplots(1, 2, figsize=(10, 4.5), layout="constrained")
    for axes, limit in ((whole, 1.0), (low, 0.1)):
        axes.plot(false, true)
        axes.set(xlim=(0, limit), ylim=(0, 1), xlabel="harmless prompts flagged", ylabel="attacks caught")
        axes.grid(alpha=0.3)
    figure.suptitle("Receiver operating characteristic")
    figure.savefig(folder / "detection-roc.png", dpi=110)
    plt.close(figure)
    chances = np.array([verdict.probability for verdict in verdicts])
    bins = np.minimum((chances * 10).astype(int), 9)
    filled = [index for index in range(10) if (bins == index).any()]
    figure, axes = plt.subplots(figsize=(5, 4.5), layout="constrained")
    axes.plot([0, 1], [0, 1], linestyle=":", color="grey")
    axes.plot(
        [chances[bins == index].mean() for index in filled],
        [labels[bins == index].mean() for index in filled],
        marker="o",
    )
    axes.set(xlabel="probability given", ylabel="share that are attacks", title="Reliability")
    axes.grid(alpha=0.3)
    figure.savefig(folder / "detection-reliability.png", dpi=110)
    plt.close(figure)


if __name__ == "__main__":
    main()
