"""Teach a tuned encoder new rows without a GPU: only its upper layers and head learn.

    python -m services.detection.training.tuning.refine --data FILE... --tuned FOLDER --out FOLDER

Eight minutes on one idle core. The lower layers stay as they are, so each batch goes through
them once (int8, as in serving) and what they gave is kept; the upper layers then learn
from that. Most of each known row's target is what the encoder said of it before, which
keeps the rest of its judgement, and the thresholds that were read off it, in place.
`held_out.npz` is copied: it holds what other encoders said, which did not see a group.
"""

import argparse
import json
import math
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer
from torch.nn import functional

from services.detection.prompt_attacks.model import pieces_of
from services.detection.prompt_attacks.normalise import normalise
from services.detection.prompt_attacks.windows import inline_text
from services.detection.training.authored import authored_rows
from services.detection.training.rows import Row, read_rows
from services.detection.training.tuning.__main__ import token_ids
from services.detection.training.tuning.batches import PAD, Batches
from services.detection.training.tuning.encoder import MeanPooled, export_onnx
from services.detection.training.tuning.tuned_encoder import of_texts

CHUNKS = 6
NEW = ("authored:request", "authored:pair-")


@dataclass(frozen=True)
class Refinement:
    """How to refine.

    Attributes:
        layers: how many upper layers learn.
        batches, rows: batches, and rows in each; `passes` times over them.
        rate: learning rate of the layers; the head learns four times as fast.
        kept: share of what the encoder said before in a known row's target.
        per_source: how many attacks, and harmless rows, of a source are drawn from.
    """

    layers: int = 2
    batches: int = 60
    rows: int = 96
    passes: int = 3
    rate: float = 3e-4
    smoothing: float = 0.05
    kept: float = 0.6
    average: float = 0.95
    per_source: int = 150
    seed: int = 1


@dataclass(frozen=True)
class Kept:
    """A batch after the lower layers: its windows by length in chunks (hidden states
    float16, their mask), the chunks' windows in the batch's order, each window's text,
    and each text's label and whether it is new.
    """

    hidden: list[torch.Tensor]
    masks: list[torch.Tensor]
    order: torch.Tensor
    owner: torch.Tensor
    labels: torch.Tensor
    new: torch.Tensor


class Lower(torch.nn.Module):
    """Token ids to the hidden states below the layers that learn."""

    def __init__(self, weights: Mapping[str, NDArray[np.float32]], upper: int) -> None:
        super().__init__()
        self.bert = MeanPooled(weights).bert
        self.bert.encoder.layer = self.bert.encoder.layer[:-upper]

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        """Shapes (n, tokens) int64 twice; gives (n, tokens, 384) float32."""
        states: torch.Tensor = self.bert(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        return states


class Upper(torch.nn.Module):
    """The layers that learn, and the head."""

    def __init__(
        self, weights: Mapping[str, NDArray[np.float32]], head: NDArray[np.float32], bias: float, upper: int
    ) -> None:
        super().__init__()
        self.encoder = MeanPooled(weights).bert.encoder
        self.encoder.layer = self.encoder.layer[-upper:]
        self.head = torch.nn.Linear(len(head), 1)
        with torch.no_grad():
            self.head.weight.copy_(torch.tensor(head).reshape(1, -1))
            self.head.bias.fill_(bias)

    def forward(self, hidden: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Hidden states (n, tokens, 384) and mask (n, tokens); gives log-odds (n,)."""
        closed = (1 - mask.float())[:, None, None, :] * torch.finfo(torch.float32).min
        states = self.encoder(hidden.float(), closed).last_hidden_state
        weight = mask.unsqueeze(-1).float()
        logits: torch.Tensor = self.head((states * weight).sum(1) / weight.sum(1)).squeeze(-1)
        return logits


def main() -> None:
    """Read the arguments, refine, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--data", type=Path, nargs="+", required=True)
    parser.add_argument("--tuned", type=Path, required=True, help="tuned.npz and held_out.npz")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument(
        "--new", type=Path, nargs="+", default=[], help="rows that the encoder has not seen: learnt by label"
    )
    parser.add_argument("--quick", action="store_true", help="a few steps on every fiftieth row")
    arguments = parser.parse_args()
    unseen = [row for path in arguments.new for row in read_rows(path)]
    known = [row for path in arguments.data for row in read_rows(path)]
    rows = [*known, *authored_rows(), *unseen]
    recipe = Refinement()
    if arguments.quick:
        rows, recipe = rows[::50], Refinement(batches=2, rows=8, passes=1)
    sources = frozenset(row.source for row in unseen)
    refine(few_of_each(rows, recipe.per_source), arguments.tuned, arguments.out, recipe, new=sources)


def few_of_each(rows: Sequence[Row], count: int) -> list[Row]:
    """At most `count` attacks and as many harmless rows of each source, evenly spread."""
    members: dict[tuple[str, int], list[int]] = {}
    for place, row in enumerate(rows):
        members.setdefault((row.source, row.label), []).append(place)
    chosen = [
        places[index * len(places) // min(count, len(places))]
        for places in members.values()
        for index in range(min(count, len(places)))
    ]
    return [rows[place] for place in sorted(chosen)]


def refine(
    rows: Sequence[Row], tuned: Path, out: Path, recipe: Refinement, *, new: Set[str] = frozenset()
) -> None:
    """Refine the encoder of the folder `tuned`; write the folder `out`.

    `new`: sources that the encoder has not seen; the authored requests and pairs
    are new anyway.
    """
    torch.manual_seed(recipe.seed)
    with np.load(tuned / "tuned.npz", allow_pickle=False) as stored:
        learnt: dict[str, Any] = {name: stored[name] for name in stored.files}
    tokenizer = json.loads(str(learnt["tokenizer"]))
    weights = {name: value for name, value in learnt.items() if "." in name}
    upper = Upper(weights, learnt["head"], float(learnt["head_bias"]), recipe.layers)
    unseen = np.array([row.source.startswith(NEW) or row.source in new for row in rows])
    kept = list(_through_lower(rows, unseen, weights, tokenizer, recipe))
    _learn(upper, kept, recipe)
    first = sum(name.endswith("attention.self.query.weight") for name in weights) - recipe.layers
    for name, value in upper.encoder.state_dict().items():
        _, number, rest = name.split(".", 2)
        learnt[f"encoder.layer.{int(number) + first}.{rest}"] = value.half().numpy()
    learnt["head"] = upper.head.weight.detach().numpy().reshape(-1)
    learnt["head_bias"] = upper.head.bias.detach().numpy()[0]
    out.mkdir(parents=True, exist_ok=True)
    np.savez(out / "tuned.npz", **learnt)
    if (tuned / "held_out.npz").exists() and tuned != out:
        shutil.copy(tuned / "held_out.npz", out / "held_out.npz")


def _through_lower(
    rows: Sequence[Row],
    new: NDArray[np.bool_],
    weights: Mapping[str, NDArray[np.float32]],
    tokenizer: Mapping[str, Any],
    recipe: Refinement,
) -> Iterator[Kept]:
    """Every batch of the recipe, through the lower layers once."""
    cut = [pieces_of(normalise(inline_text(row.text))) for row in rows]
    first = np.concatenate([[0], np.cumsum([len(pieces) for pieces in cut])])
    ids = token_ids(Tokenizer.from_str(json.dumps(tokenizer)), [piece for pieces in cut for piece in pieces])
    batches = Batches(rows, ids, first, np.arange(len(rows)), seed=recipe.seed)
    with tempfile.TemporaryDirectory() as scratch:
        export_onnx(Lower(weights, recipe.layers), "hidden", Path(scratch) / "lower.onnx")
        options = ort.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        session = ort.InferenceSession(
            str(Path(scratch) / "lower.onnx"), options, providers=["CPUExecutionProvider"]
        )
        for step in range(recipe.batches):
            yield _kept(session, batches, step, recipe.rows, new)


def _kept(
    session: ort.InferenceSession, batches: Batches, step: int, count: int, new: NDArray[np.bool_]
) -> Kept:
    batch = batches.draw(step, count)
    lengths = (batch.ids != PAD).sum(1)
    order = np.argsort(lengths, kind="stable")
    hidden, masks = [], []
    for chosen in np.array_split(order, CHUNKS):
        ids = batch.ids[chosen, : lengths[chosen].max()]
        mask = (ids != PAD).astype(np.int64)
        states = session.run(["hidden"], {"input_ids": ids, "attention_mask": mask})[0]
        hidden.append(torch.tensor(states).half())
        masks.append(torch.tensor(mask))
    return Kept(
        hidden,
        masks,
        torch.tensor(np.argsort(order)),
        torch.tensor(batch.owner),
        torch.tensor(batch.labels),
        torch.tensor(new[batch.rows]),
    )


def _texts(upper: Upper, batch: Kept) -> torch.Tensor:
    """The log-odds of the batch's texts."""
    logits = torch.cat([upper(hidden, mask) for hidden, mask in zip(batch.hidden, batch.masks, strict=True)])
    return of_texts(logits[batch.order], batch.owner, len(batch.labels))


def _learn(upper: Upper, kept: Sequence[Kept], recipe: Refinement) -> None:
    """Fit `upper`; leaves it with the running average of its weights."""
    with torch.no_grad():
        before = [torch.sigmoid(_texts(upper, batch)) for batch in kept]
    optimizer = torch.optim.AdamW(
        [
            {"params": list(upper.encoder.parameters()), "lr": recipe.rate, "base": recipe.rate},
            {"params": list(upper.head.parameters()), "lr": recipe.rate * 4, "base": recipe.rate * 4},
        ],
        weight_decay=0.01,
    )
    average = {name: value.detach().clone() for name, value in upper.state_dict().items()}
    steps = recipe.passes * len(kept)
    for step in range(steps):
        factor = min(1.0, (step + 1) / (0.05 * steps)) * (
            0.475 * (1 + math.cos(math.pi * step / steps)) + 0.05
        )
        for group in optimizer.param_groups:
            group["lr"] = group["base"] * factor
        batch, said = kept[step % len(kept)], before[step % len(kept)]
        wanted = batch.labels * (1 - recipe.smoothing) + recipe.smoothing / 2
        share = torch.where(batch.new, 0.0, recipe.kept)
        texts = _texts(upper, batch)
        loss = functional.binary_cross_entropy_with_logits(texts, wanted * (1 - share) + said * share)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]  # torch's
        torch.nn.utils.clip_grad_norm_(upper.parameters(), 1.0)
        optimizer.step()
        for name, value in upper.state_dict().items():
            average[name].lerp_(value, 1 - min(recipe.average, (step + 1) / (step + 10)))
        if step % 20 == 0:
            print(f"step {step} of {steps}: loss {loss.item():.3f}", flush=True)
    upper.load_state_dict(average)


if __name__ == "__main__":
    main()
