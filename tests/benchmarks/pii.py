"""How well personal data and secrets are found: `python -m tests.benchmarks.pii --data
rows.jsonl --out figures.json`.

A row is `{"text", "spans": [{"start", "end", "type", "value"}], "lang", "source"}`. A
finding is right when its type is that of a labelled span and their intersection is at
least half of their union; each labelled span counts once. Types that the detector does
not know are listed and left out.

Where a file labels the parts of one address each for itself (house number, street,
town, post code), neighbouring parts count as one address if one of them is an ADDRESS.
Where a file labels every date DATE_TIME, a date of birth found on such a span is
neither right nor wrong: the file does not say.
"""

import argparse
import json
import re
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from services.detection.finding import Finding
from services.detection.sensitive import find_sensitive

PII_TYPES = (
    "EMAIL_ADDRESS",
    "PHONE_NUMBER",
    "CREDIT_CARD",
    "IBAN_CODE",
    "US_SSN",
    "FR_NIR",
    "FR_SIREN",
    "FR_SIRET",
    "UK_NINO",
    "IP_ADDRESS",
    "MAC_ADDRESS",
    "DATE_OF_BIRTH",
    "ADDRESS",
    "PERSON",
)
OVERLAP = 0.5
_NAMES_A_SECRET = re.compile(r"api[_-]?key|token|secret|password|mot de passe|passwd|bearer", re.IGNORECASE)
_AMBIGUOUS = {"DATE_OF_BIRTH": {"DATE_TIME"}}

Row = dict[str, Any]


def overlap(finding: Finding, span: dict[str, Any]) -> float:
    """Intersection over union of two stretches of text."""
    shared = min(finding.end, span["end"]) - max(finding.start, span["start"])
    return max(0, shared) / (max(finding.end, span["end"]) - min(finding.start, span["start"]))


_PLACES = {"ADDRESS", "LOCATION", "ZIP_CODE"}
_BETWEEN_PARTS = re.compile(r"[\s,>?]{0,8}")


def joined_addresses(row: Row) -> Row:
    """The row with the parts of each address as one span; places that belong to no
    address stay as they are.
    """
    spans: list[dict[str, Any]] = []
    for span in sorted(row["spans"], key=lambda s: s["start"]):
        last = spans[-1] if spans else None
        is_part = (
            last is not None
            and {span["type"], last["type"]} <= _PLACES
            and "ADDRESS" in (span["type"], last["type"])
        )
        if (
            last is not None
            and is_part
            and _BETWEEN_PARTS.fullmatch(row["text"][last["end"] : span["start"]])
        ):
            spans[-1] = {**last, "end": span["end"], "type": "ADDRESS"}
        else:
            spans.append(span)
    return {**row, "spans": spans}


class Score:
    """Right, wrong and missed findings of each type."""

    def __init__(self) -> None:
        self.right: Counter[str] = Counter()
        self.wrong: Counter[str] = Counter()
        self.labelled: Counter[str] = Counter()
        self.examples: dict[str, list[str]] = defaultdict(list)

    def add(self, row: Row, findings: Sequence[Finding], kind: str, *, exact: bool = True) -> None:
        """Count one row's findings and labelled spans of one type; without `exact`, of
        all types that begin with it.
        """
        spans = [s for s in row["spans"] if s["type"] == kind or (not exact and s["type"].startswith(kind))]
        free = list(spans)
        self.labelled[kind] += len(spans)
        for finding in findings:
            if finding.type != kind and (exact or not finding.type.startswith(kind)):
                continue
            hit = next((s for s in free if overlap(finding, s) >= OVERLAP), None)
            if hit:
                free.remove(hit)
                self.right[kind] += 1
            elif not any(
                s["type"] in _AMBIGUOUS.get(kind, ()) and overlap(finding, s) >= OVERLAP for s in row["spans"]
            ):
                self.wrong[kind] += 1
                self.examples[f"wrong {kind}"].append(
                    f"{row['text'][finding.start : finding.end]!r} ({finding.evidence}) in "
                    f"{row['text'][:160]!r}"
                )
        self.examples[f"missed {kind}"].extend(
            f"{row['text'][s['start'] : s['end']]!r} in {row['text'][:160]!r}" for s in free
        )

    def figures(self, kind: str) -> dict[str, float | int | None]:
        """Precision, recall and the number of labelled spans; None where there is
        nothing to divide by.
        """
        found = self.right[kind] + self.wrong[kind]
        labelled = self.labelled[kind]
        return {
            "precision": round(self.right[kind] / found, 4) if found else None,
            "recall": round(self.right[kind] / labelled, 4) if labelled else None,
            "n": labelled,
        }


def placeholder_rate(
    rows: Iterable[Row], found: Sequence[Sequence[Finding]]
) -> dict[str, float | int | None]:
    """Share of rows that name a secret, hold none by their labels, and have one found
    in them all the same.
    """
    negatives = [
        any(f.type.startswith("SECRET_") for f in findings)
        for row, findings in zip(rows, found, strict=True)
        if not row["spans"] and (row.get("placeholder") or _NAMES_A_SECRET.search(row["text"]))
    ]
    return {
        "flag_rate": round(sum(negatives) / len(negatives), 4) if negatives else None,
        "n": len(negatives),
    }


def cpu_ms(texts: Sequence[str]) -> dict[str, float]:
    """CPU milliseconds of one inspection, at the 50th, 95th and 99th percentile over
    the texts.
    """
    times = []
    for text in texts:
        begun = time.process_time_ns()
        find_sensitive(text)
        times.append((time.process_time_ns() - begun) / 1e6)
    times.sort()
    return (
        {f"p{p}": round(times[min(len(times) - 1, len(times) * p // 100)], 4) for p in (50, 95, 99)}
        if times
        else {}
    )


def texts_of(rows: Sequence[Row], size: int) -> list[str]:
    """Neighbouring rows joined into texts of the size, in characters."""
    joined = "\n".join(row["text"] for row in rows)
    return [joined[at : at + size] for at in range(0, len(joined) - size, size)]


def measure(rows: Sequence[Row], *, examples: int = 0) -> dict[str, Any]:
    """All figures for a file's rows."""
    for row in rows[:50]:
        find_sensitive(row["text"])  # numbering plans and formats load on first use
    rows = [joined_addresses(row) for row in rows]
    found = [find_sensitive(row["text"], with_names=True) for row in rows]
    score = Score()
    secret_types = sorted(
        {s["type"] for row in rows for s in row["spans"] if s["type"].startswith("SECRET_")}
    )
    for row, findings in zip(rows, found, strict=True):
        for kind in (*PII_TYPES, *secret_types):
            score.add(row, findings, kind)
        score.add(row, findings, "SECRET_", exact=False)
    unknown = {s["type"] for row in rows for s in row["spans"]} - set(PII_TYPES) - set(secret_types)
    figures: dict[str, Any] = {
        "per_type": {
            kind: score.figures(kind)
            for kind in (*PII_TYPES, *secret_types)
            if score.labelled[kind] or score.wrong[kind]
        },
        "secrets": {**score.figures("SECRET_"), "placeholders": placeholder_rate(rows, found)},
        "cpu_ms": cpu_ms([row["text"] for row in rows]),
        "cpu_ms_2kb": cpu_ms(texts_of(rows, 2048)),
        "not_judged": sorted(unknown),
        "n": len(rows),
    }
    if examples:
        figures["examples"] = {kind: some[:examples] for kind, some in sorted(score.examples.items()) if some}
    return figures


def table(figures: dict[str, Any]) -> str:
    """The figures as a table for people."""
    lines = [f"{'type':28}{'precision':>10}{'recall':>10}{'n':>7}"]
    for kind, row in [*figures["per_type"].items(), ("all secrets, any type", figures["secrets"])]:
        shown = ["-" if row[k] is None else f"{row[k]:.3f}" for k in ("precision", "recall")]
        lines.append(f"{kind:28}{shown[0]:>10}{shown[1]:>10}{row['n']:>7}")
    placeholders = figures["secrets"]["placeholders"]
    lines.append(f"placeholders flagged: {placeholders['flag_rate']} of {placeholders['n']}")
    lines.append(f"CPU ms a row: {figures['cpu_ms']}   a 2 KB text: {figures['cpu_ms_2kb']}")
    lines.append(f"labelled, not judged here: {', '.join(figures['not_judged']) or 'none'}")
    return "\n".join(lines)


def main() -> None:
    """Read rows, print the table, write the JSON."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--data", type=Path, required=True, help="JSON lines in the dev data's format")
    parser.add_argument("--out", type=Path, help="where the figures go, as JSON")
    parser.add_argument(
        "--examples",
        type=int,
        default=0,
        help="also give up to so many wrong and missed values of each type; they quote the data",
    )
    arguments = parser.parse_args()
    rows = [
        json.loads(line) for line in arguments.data.read_text(encoding="utf-8").splitlines() if line.strip()
    ]
    figures = measure(rows, examples=arguments.examples)
    print(table(figures))
    for kind, some in figures.get("examples", {}).items():
        print(f"\n{kind}", *some, sep="\n  ")
    if arguments.out:
        arguments.out.write_text(json.dumps(figures, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
