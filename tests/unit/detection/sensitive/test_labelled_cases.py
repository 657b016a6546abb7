"""The labelled cases: what is marked is found, and nothing else."""

from typing import Any

import pytest

from services.detection.finding import Finding
from services.detection.sensitive import find_sensitive
from tests.benchmarks.pii import OVERLAP, overlap
from tests.unit.detection.sensitive.labelled_cases import labelled_cases

FILES = ("numbers", "harmless", "secrets", "placeholders", "people", "second_look")
CASES = [case for name in FILES for case in labelled_cases(name) if not case["is_missed"]]


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case['source']}-{case['text'][:40]!r}")
def test_labelled_case_gives_what_is_marked_and_nothing_else(case: dict[str, Any]) -> None:
    """Types and places are those marked; where an address ends may be told differently
    by up to half of it.
    """
    findings = find_sensitive(case["text"])
    assert [_kind(f) for f in findings] == [span["type"] for span in case["spans"]]
    assert all(_agrees(f, span) for f, span in zip(findings, case["spans"], strict=True))


def _kind(finding: Finding) -> str:
    return "SECRET_ANY" if finding.type.startswith("SECRET_") else finding.type


def _agrees(finding: Finding, span: dict[str, Any]) -> bool:
    if finding.type == "ADDRESS":
        return overlap(finding, span) >= OVERLAP
    return (finding.start, finding.end) == (span["start"], span["end"])


def test_labelled_cases_that_are_missed_are_few() -> None:
    """At most one case of twenty is marked as not done."""
    every = [case for name in FILES for case in labelled_cases(name)]
    assert sum(case["is_missed"] for case in every) <= len(every) / 20
