"""Attacks beside harmless twins whose words nearly agree, and ordinary requests, one by
one: no grammar multiplies them.

A language model wrote them for this project, after reading which kinds of texts the
detector got wrong; none is taken from a data set.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import yaml

from services.detection.training.rows import Row

_FOLDER = Path(__file__).with_name("pairs")
_ATTACKS = {
    "agents": "cyber_attack",
    "business": "data_extraction",
    "code": "code_injection",
    "documents": "indirect_injection",
    "extraction": "data_extraction",
    "fiction": "jailbreak",
    "security": "cyber_attack",
}
_HARMLESS = {"harmless": "hard_benign", "ordinary": "benign"}
SOURCE = "authored:pair-"


def pair_rows() -> list[Row]:
    """Every text of the folder `pairs`.

    Sources are `authored:pair-<file>`; twins stand in one of four groups.
    """
    rows: list[Row] = []
    for path in sorted(_FOLDER.glob("*.yaml")):
        texts: Mapping[str, Sequence[Mapping[str, str]]] = yaml.safe_load(path.read_text(encoding="utf-8"))
        for lang, entries in texts.items():
            for place, entry in enumerate(entries):
                rows.extend(
                    Row(
                        text,
                        int(kind == "attack"),
                        _category(path.stem, kind),
                        lang,
                        SOURCE + path.stem,
                        group,
                    )
                    for group in (f"authored-{place % 4}",)
                    for kind, text in entry.items()
                )
    return rows


def _category(file: str, kind: str) -> str:
    return _HARMLESS.get(kind) or _ATTACKS.get(file, "prompt_injection")
