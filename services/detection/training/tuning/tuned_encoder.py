"""The encoder as it is fine-tuned: twelve layers over frozen word vectors, a linear head
over the mean, and a text's log-odds from those of its windows.

The word vectors stay as they were, so that a language without attacks among the rows
keeps its place beside those that have some.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from services.detection.training.tuning.batches import Batches
from services.detection.training.tuning.encoder import MeanPooled

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


@dataclass(frozen=True)
class Recipe:
    """How to fine-tune.

    Attributes:
        steps, rows: batches, and rows in each.
        rate: learning rate of the top layer; each below learns `decay` times as fast.
        smoothing: how far the labels stand from 0 and 1.
        adversarial: how much the encoder is pushed to hide a row's source.
        average: share of the old weights kept in the running average that is shipped.
    """

    steps: int = 700
    rows: int = 256
    rate: float = 1e-4
    decay: float = 0.9
    smoothing: float = 0.05
    adversarial: float = 0.03
    average: float = 0.995
    seed: int = 0


class _Reversed(torch.autograd.Function):
    @staticmethod
    def forward(context: Any, value: torch.Tensor, strength: float) -> torch.Tensor:
        context.strength = strength
        return value.view_as(value)

    @staticmethod
    def backward(context: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor, None]:
        return -context.strength * gradients[0], None


class Tuned(torch.nn.Module):
    """Encoder and head."""

    def __init__(self, weights: Mapping[str, NDArray[np.float32]]) -> None:
        super().__init__()
        self.encoder = MeanPooled(weights)
        self.encoder.bert.embeddings.word_embeddings.weight.requires_grad = False
        self.head = torch.nn.Linear(weights["embeddings.LayerNorm.weight"].shape[0], 1)
        torch.nn.init.normal_(self.head.weight, std=0.02)
        torch.nn.init.zeros_(self.head.bias)

    def forward(self, ids: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Token ids (n, tokens), 1 where padded; gives log-odds (n,) and vectors."""
        vectors = self.encoder(ids, (ids != 1).long())
        return self.head(vectors).squeeze(-1), vectors


def of_texts(logits: torch.Tensor, owner: torch.Tensor, count: int) -> torch.Tensor:
    """Each text's log-odds: its windows', weighed by their own softmax."""
    highest = torch.full((count,), -1e9, device=logits.device)
    highest = highest.scatter_reduce(0, owner, logits.detach(), "amax")
    share = torch.exp((logits - highest[owner]).detach())
    total = torch.zeros(count, device=logits.device).index_add(0, owner, share)
    return torch.zeros(count, device=logits.device).index_add(0, owner, share / total[owner] * logits)


def tune(weights: Mapping[str, NDArray[np.float32]], batches: Batches, recipe: Recipe) -> Tuned:
    """Fine-tune from `weights`; gives the running average of the last two thirds."""
    torch.manual_seed(recipe.seed)
    model = Tuned(weights).to(DEVICE).train()
    critic = torch.nn.Sequential(
        torch.nn.Linear(model.head.in_features, 128), torch.nn.ReLU(), torch.nn.Linear(128, batches.sources)
    ).to(DEVICE)
    groups = _groups(model, critic, recipe)
    optimizer = torch.optim.AdamW(groups, weight_decay=0.01)
    average = {name: value.detach().clone() for name, value in model.state_dict().items()}
    for step in range(recipe.steps):
        progress = step / recipe.steps
        factor = min(1.0, (step + 1) / (0.08 * recipe.steps)) * (
            0.475 * (1 + math.cos(math.pi * progress)) + 0.05
        )
        for group in optimizer.param_groups:
            group["lr"] = group["base"] * factor
        loss = _loss(model, critic, batches, recipe, step)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]  # torch's
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        kept = recipe.average if progress > 0.3 else 0.0
        for name, value in model.state_dict().items():
            average[name].lerp_(value, 1 - kept) if value.is_floating_point() else average[name].copy_(value)
    model.load_state_dict(average)
    return model.eval()


def _groups(model: Tuned, critic: torch.nn.Module, recipe: Recipe) -> list[dict[str, Any]]:
    layers = list(model.encoder.bert.encoder.layer)
    rates = [
        (list(layer.parameters()), recipe.rate * recipe.decay ** (len(layers) - 1 - place))
        for place, layer in enumerate(layers)
    ]
    rates.append((list(model.encoder.bert.embeddings.LayerNorm.parameters()), recipe.rate * 0.3))
    rates.append(([*model.head.parameters(), *critic.parameters()], recipe.rate * 5))
    return [{"params": parameters, "lr": rate, "base": rate} for parameters, rate in rates]


def _loss(model: Tuned, critic: torch.nn.Module, batches: Batches, recipe: Recipe, step: int) -> torch.Tensor:
    batch = batches.draw(step, recipe.rows)
    ids, owner = torch.tensor(batch.ids, device=DEVICE), torch.tensor(batch.owner, device=DEVICE)
    with torch.autocast(DEVICE, dtype=torch.bfloat16):
        logits, vectors = model(ids)
    texts = of_texts(logits.float(), owner, len(batch.labels))
    wanted = torch.tensor(batch.labels, device=DEVICE) * (1 - recipe.smoothing) + recipe.smoothing / 2
    loss = functional.binary_cross_entropy_with_logits(texts, wanted)
    strength = recipe.adversarial * (2 / (1 + math.exp(-10 * step / recipe.steps)) - 1)
    first = torch.tensor(np.searchsorted(batch.owner, np.arange(len(batch.labels))), device=DEVICE)
    guess = critic(_Reversed.apply(vectors.float()[first], strength))
    return loss + functional.cross_entropy(guess, torch.tensor(batch.sources, device=DEVICE))


@torch.no_grad()
def window_logits(model: Tuned, ids: NDArray[np.int64], at_once: int = 4096) -> NDArray[np.float32]:
    """The log-odds of every window. Shape (n,)."""
    found = [np.zeros(0, np.float32)]
    for start in range(0, len(ids), at_once):
        with torch.autocast(DEVICE, dtype=torch.bfloat16):
            logits, _ = model(torch.tensor(ids[start : start + at_once], device=DEVICE))
        found.append(logits.float().cpu().numpy())
    return np.concatenate(found)


def quick(recipe: Recipe) -> Recipe:
    """The recipe cut down to a few steps, to try the way through."""
    return replace(recipe, steps=3, rows=16)
