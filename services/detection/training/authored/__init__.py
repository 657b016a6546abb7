"""The authored supplement: prompts written for this project, the same ones every time."""

import random

from services.detection.training.authored.grammar import grammar_rows
from services.detection.training.authored.instructions import instruction_rows
from services.detection.training.authored.pairs import pair_rows
from services.detection.training.rows import Row


def authored_rows(seed: int = 7) -> list[Row]:
    """Every authored prompt, each once: of the slot grammars, everyday requests, pairs."""
    rng = random.Random(seed)  # noqa: S311 - repeatable variety, nothing to keep secret
    rows = [*grammar_rows(rng), *instruction_rows(rng), *pair_rows()]
    return list({row.text: row for row in rows}.values())
