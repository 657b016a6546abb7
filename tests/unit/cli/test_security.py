"""What `tocsin security` says."""

import json
from datetime import UTC, datetime

import pytest
from pydantic import TypeAdapter

from services.cli import security
from services.console.domain.threats.turning import Found, Quality
from services.console.read_models.threats import Outlook, Turning, outlook_of, turning_of

_NOON = datetime(2026, 11, 2, 12, tzinfo=UTC)


def _outlook(hours: int) -> Outlook:
    last = int(_NOON.timestamp() // 3600)
    return outlook_of([(last - hours + place, 2) for place in range(hours)], _NOON, 24)


def test_forecast_is_told_by_the_hour_with_how_wrong_such_ones_were(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """And as JSON."""
    security._print_outlook(_outlook(24 * 7))
    printed = capsys.readouterr().out
    assert "2026-11-02 12:00        2.0" in printed
    assert "over the last 4 days such forecasts were wrong by 0.00 an hour" in printed
    told = json.loads(TypeAdapter(object).dump_json(_outlook(24 * 7)))
    assert len(told["expected"]) == 24
    assert told["backtest"]["days"] == 4


def test_forecast_from_too_little_says_what_is_needed(capsys: pytest.CaptureFixture[str]) -> None:
    """A new installation."""
    security._print_outlook(_outlook(30))
    security._print_outlook(Outlook(0, (), None))
    printed = capsys.readouterr().out
    assert "30 hours of history, 96 are needed" in printed
    assert "there is no history yet" in printed


def test_users_are_told_with_the_score_or_why_there_are_none(capsys: pytest.CaptureFixture[str]) -> None:
    """A chance without how good such chances were says nothing."""
    security._print_turning(Turning(900, 40, Quality(0.01, 0.02, 180, 8), (("acme", "u_a", 0.25),)))
    calm = {("acme", "u_a"): [Found(_NOON.timestamp() - 90_000.0, "jailbreak", "medium", 8.0)]}
    security._print_turning(turning_of(calm, _NOON.timestamp()))
    printed = capsys.readouterr().out
    assert "25.0%  acme/u_a" in printed
    assert "Brier score 0.0100 on 180 examples" in printed
    assert "at least 20 are needed" in printed


def test_findings_are_told_with_why(capsys: pytest.CaptureFixture[str]) -> None:
    """Whose: a user, or a key where the finding is about one."""
    one = {
        "found_at": _NOON, "level": "high", "score": 13.0, "category": "rate", "tenant": "acme", "user": "",
        "key_id": "key00001", "request_id": "request-1", "explanation": ["too many"],
    }  # fmt: skip
    security._print_findings([one])
    security._print_findings([])
    printed = capsys.readouterr().out
    assert "acme/key00001  request-1\n    too many\n" in printed
    assert printed.endswith("nothing was found\n")
