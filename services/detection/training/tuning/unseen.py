"""Let a tuned encoder judge rows that it has not seen, and add that to what held-out
encoders said.

    python -m services.detection.training.tuning.unseen --new FILE... --tuned FOLDER --out FOLDER

Writes `held_out.npz` with the window logits of the new rows added, so that thresholds
and weighing are fitted on them too: for new rows every encoder is a held-out one.
`tuned.npz` is copied. About 6 ms a window of up to 48 tokens.
"""

import argparse
import json
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from services.detection.prompt_attacks.encoder import Encoder
from services.detection.prompt_attacks.model import Embeds, pieces_of
from services.detection.prompt_attacks.normalise import normalise
from services.detection.prompt_attacks.windows import inline_text
from services.detection.training.fit import read_held_out, row_key
from services.detection.training.rows import Row, read_rows
from services.detection.training.tuning.encoder import MeanPooled, export_encoder

AT_ONCE = 16


def main() -> None:
    """Read the arguments, judge, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--new", type=Path, nargs="+", required=True)
    parser.add_argument("--tuned", type=Path, required=True, help="tuned.npz and held_out.npz")
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    rows = [row for path in arguments.new for row in read_rows(path)]
    known = read_held_out(arguments.tuned / "held_out.npz")
    with tempfile.TemporaryDirectory() as scratch:
        encoder, head, bias = exported(arguments.tuned / "tuned.npz", Path(scratch))
        for row, logits in zip(rows, judged(rows, encoder, head, bias), strict=True):
            known.setdefault(row_key(row.text), logits)
    arguments.out.mkdir(parents=True, exist_ok=True)
    write_held_out(known, arguments.out / "held_out.npz")
    if arguments.out != arguments.tuned:
        shutil.copy(arguments.tuned / "tuned.npz", arguments.out / "tuned.npz")
    print(f"{arguments.out / 'held_out.npz'}: {len(rows)} rows judged, {len(known)} in all")


def exported(tuned: Path, folder: Path) -> tuple[Encoder, NDArray[np.float32], float]:
    """The encoder of `tuned.npz` as it is served, and its head."""
    with np.load(tuned, allow_pickle=False) as stored:
        learnt = {name: stored[name] for name in stored.files}
    tokenizer = json.loads(str(learnt.pop("tokenizer")))
    head, bias = learnt.pop("head").astype(np.float32), float(learnt.pop("head_bias"))
    export_encoder(MeanPooled(learnt), tokenizer, folder)
    return Encoder(folder), head, bias


def judged(
    rows: Sequence[Row], encoder: Embeds, head: NDArray[np.float32], bias: float
) -> Iterator[NDArray[np.float32]]:
    """The log-odds of each row's windows."""
    cut = [pieces_of(normalise(inline_text(row.text))) for row in rows]
    flat = [piece for pieces in cut for piece in pieces]
    order = np.argsort([len(piece) for piece in flat], kind="stable")
    logits = np.zeros(len(flat), np.float32)
    for start in range(0, len(flat), AT_ONCE):
        chosen = order[start : start + AT_ONCE]
        logits[chosen] = encoder.embed([flat[place] for place in chosen]) @ head + bias
    yield from np.split(logits, np.cumsum([len(pieces) for pieces in cut])[:-1])


def write_held_out(known: dict[str, NDArray[np.float32]], path: Path) -> None:
    """The file that `read_held_out` reads."""
    np.savez_compressed(
        path,
        keys=np.array(list(known)),
        counts=np.array([len(logits) for logits in known.values()]),
        logits=np.concatenate(list(known.values())).astype(np.float16),
    )


if __name__ == "__main__":
    main()
