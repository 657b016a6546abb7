"""What `tocsin security` says."""

from datetime import UTC, datetime
from pathlib import Path

import pytest
from typer.testing import CliRunner

from services.cli.app import app
from services.cli.security import commands
from services.cli.security.tuning import told
from services.console.domain.threats.tuning import METHOD
from services.console.domain.threats.turning import Found, Quality
from services.console.read_models.threats import Turning, turning_of

_NOON = datetime(2026, 11, 2, 12, tzinfo=UTC)


def test_users_are_told_with_the_score_or_why_there_are_none(capsys: pytest.CaptureFixture[str]) -> None:
    """A chance without how good such chances were says nothing."""
    commands._print_turning(Turning(900, 40, Quality(0.01, 0.02, 180, 8), (("acme", "u_a", 0.25),)))
    calm = {("acme", "u_a"): [Found(_NOON.timestamp() - 90_000.0, "jailbreak", "medium", 8.0)]}
    commands._print_turning(turning_of(calm, _NOON.timestamp()))
    printed = capsys.readouterr().out
    assert "25.0%  acme/u_a" in printed
    assert "Brier score 0.0100 on 180 examples" in printed
    assert "at least 20 are needed" in printed


def test_findings_are_told_with_why(capsys: pytest.CaptureFixture[str]) -> None:
    """Whose: a user, or a key where the finding is about one."""
    one = {
        "found_at": _NOON.isoformat(), "level": "high", "score": 13.0, "category": "rate", "tenant": "acme",
        "user": "", "key_id": "key00001", "request_id": "request-1", "explanation": ["too many"],
        "finding_id": "f1", "feedback": None,
    }  # fmt: skip
    judged = one | {"feedback": {"verdict": "false_alarm"}}
    commands._print_findings({"data": [one], "next_cursor": "abc"})
    commands._print_findings({"data": [judged], "next_cursor": None})
    commands._print_findings({"data": [], "next_cursor": None})
    printed = capsys.readouterr().out
    assert printed.startswith("2026-11-02 12:00:00  high")
    assert "acme/key00001  request-1\n    finding f1\n    too many\nmore: --cursor abc\n" in printed
    assert "    finding f1: false_alarm\n" in printed
    assert printed.endswith("nothing was found\n")


def test_timeline_is_told_by_the_hour_with_its_findings(capsys: pytest.CaptureFixture[str]) -> None:
    """And that there are more than are shown."""
    hour = {"requests": 9, "blocked": 6, "highest_score": 30.0, "findings": 11, "highest_level": "critical"}
    found = {
        "user": "u_1",
        "since": _NOON.isoformat(),
        "until": _NOON.isoformat(),
        "hours": [{"hour": _NOON.isoformat(), **hour}],
        "findings": [],
        "has_more_findings": True,
    }
    commands._print_timeline(found)
    commands._print_timeline(found | {"hours": [], "has_more_findings": False})
    printed = capsys.readouterr().out
    assert "2026-11-02 12:00Z  9         6        30.0           11        critical" in printed
    assert printed.count("u_1, 2026-11-02 12:00Z to 2026-11-02 12:00Z\n") == 2
    assert printed.count("more findings than shown") == 1


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["judge", "f1", "false"], "must be one of true_alarm, false_alarm"),
        (["findings", "--level", "crit"], "--level: use 'low', 'medium', 'high' or 'critical'"),
        (["findings", "--feedback", "maybe"], "--feedback: use 'none', 'true_alarm' or 'false_alarm'"),
        (["findings", "--since", "yesterday"], "--since: use a time with its offset"),
        (["findings", "--user", "jo"], "'jo' is a name: say of which tenant"),
        (["timeline", "jo"], "'jo' is a name: say of which tenant"),
    ],
)
def test_value_that_is_wrong_is_refused_before_anything_is_asked(
    arguments: list[str], said: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """By the rules of the HTTP interface; a name without its tenant would find nothing."""
    monkeypatch.setenv("TOCSIN_HOME", str(tmp_path))
    monkeypatch.setenv("TOCSIN_CLICKHOUSE_URL", "http://127.0.0.1:1/tocsin")
    monkeypatch.setattr("sys.argv", ["tocsin", "security", *arguments])
    done = CliRunner().invoke(app, ["security", *arguments])
    assert done.exit_code != 0
    assert said in " ".join(done.stderr.replace("│", " ").split())


@pytest.mark.parametrize(("applied", "had_own"), [(False, False), (True, False), (True, True)])
def test_proposal_is_told_with_its_interval_and_how_to_take_it_back(applied: bool, had_own: bool) -> None:  # noqa: FBT001
    """Commands that work as they are printed."""
    scores = {"low": 3.0, "medium": 7.0, "high": 12.0, "critical": 20.0}
    share = {"alarms": 500, "false_alarms": 5, "false_alarm_rate": 0.01, "interval": {"low": 0, "high": 0.04}}
    advice = {
        "tenant": "acme",
        "level": "high",
        "target": 0.05,
        "confidence": 0.95,
        "method": METHOD,
        "since": "2026-09-01T00:00:00+00:00",
        "judged": 600,
        "judged_false": 9,
        "findings": 700,
        "present": {"threshold": 12.0, "thresholds": scores, **share},
        "proposed": {"threshold": 13.5, "thresholds": scores | {"high": 13.5}, **share},
        "recorded": {"prompts": 1000, "raised": 0, "lowered": 12},
    }
    printed = told(advice, applied=applied, had_own=had_own)
    assert "high from 13.5 on, as proposed: 5 of 500 judged alarms false, 1.0% (0.0% to 4.0%)" in printed
    assert "12 of a lower one" in printed
    assert "Clopper-Pearson" in printed
    wanted = "tocsin thresholds set acme --low 3 --medium 7 --high 13.5 --critical 20"
    if applied:
        wanted = "to take it back: tocsin thresholds " + (
            "set acme --low 3 --medium 7 --high 12 --critical 20" if had_own else "delete acme"
        )
    assert printed.endswith(wanted)


def test_proposal_that_there_is_not_says_why() -> None:
    """And nothing to set."""
    nothing = {"threshold": 12.0, "alarms": 0, "false_alarms": 0, "thresholds": {}}
    advice = {
        "tenant": "acme",
        "level": "high",
        "target": 0.05,
        "confidence": 0.95,
        "method": METHOD,
        "judged": 0,
        "judged_false": 0,
        "findings": 3,
        "present": nothing,
        "proposed": None,
    }
    printed = told(advice, applied=False, had_own=False)
    assert "0 of 3 findings in prompts were judged" in printed
    assert "no judged alarm" in printed
    assert printed.endswith("judge more findings, or allow more")
