"""Whom the gateway's cascade makes wait for the model, and what it keeps from it:
`python -m tests.benchmarks.sharing.inspection_cascade --data a.jsonl [b.jsonl]`.

Of a random part of labelled prompts: how many harmless ones the model is asked about,
how many it decides on, and how many of those that it would put at high or critical never
reach it. The n-grams were fitted on the development sets, so there it looks better than
on other prompts.
"""

import argparse
import json
import random
from pathlib import Path

from schemas.control import PolicyChanged
from services.common.control.thresholds import DEFAULT_THRESHOLDS
from services.gateway.admission.inspection.passages import slices_of
from services.gateway.admission.inspection.reading import Judgement, Read, undecided
from services.gateway.admission.inspection.screener import Screener
from tests.unit.gateway.admission.inspection.scene import asked


def main() -> None:
    """Reads arguments, measures, prints."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, nargs="+", required=True, help="JSON lines: text, label")
    parser.add_argument("--rows", type=int, default=2500)
    given = parser.parse_args()
    rows = [json.loads(line) for path in given.data for line in path.open()]
    random.Random(1).shuffle(rows)
    screener = Screener.load(with_model=True)
    found = [_judged(screener, row) for row in rows[: given.rows]]
    print(json.dumps({label: _shares(found, label) for label in ("harmless", "attack")}, indent=1))


def _judged(screener: Screener, row: dict[str, str]) -> dict[str, object]:
    """Whether the cascade asks the model, must ask it, and what it would have said."""
    texts = slices_of(asked(row["text"]))
    readings = {
        text: screener.read(text, DEFAULT_THRESHOLDS)._replace(suspicion=screener.suspicion(text))
        for text in texts
    }
    judgements: dict[str, Judgement] = {}
    read = Read(texts, readings, judgements)
    found: dict[str, object] = {
        "label": "attack" if int(row["label"]) else "harmless",
        "asked": bool(read.suspects()),
        "decided": bool(undecided(read, PolicyChanged(), DEFAULT_THRESHOLDS)),
    }
    judgements.update({text: screener.judge(text, DEFAULT_THRESHOLDS) for text in texts[:24]})
    return found | {"level": DEFAULT_THRESHOLDS.level(read.score())}


def _shares(found: list[dict[str, object]], label: str) -> dict[str, float]:
    rows = [row for row in found if row["label"] == label]
    high = [row for row in rows if row["level"] in ("high", "critical")]
    return {
        "rows": len(rows),
        "model_asked": round(sum(bool(row["asked"]) for row in rows) / len(rows), 3),
        "model_decides": round(sum(bool(row["decided"]) for row in rows) / len(rows), 3),
        "high_or_critical": len(high),
        "of_these_never_asked": sum(not row["asked"] for row in high),
    }


if __name__ == "__main__":
    main()
