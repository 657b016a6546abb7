"""`tocsin kpi` on a real store."""

import json
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from typer.testing import CliRunner

from services.cli.app import app
from tests.support.analyzer.recording import fresh_database
from tests.support.store import RunningStore

_REQUESTS = (
    "INSERT INTO {0}.inference_events (completed_at, requested_at, tenant, model, request_id, user, outcome, "
    "error_code, duration_ms) SELECT now64(3) - 20, now64(3) - 21, 'acme', 'm1', toString(number), "
    "concat('u', toString(number)), if(number < 3, 'failed', 'completed'), if(number < 3, 'lost', ''), 800 "
    "FROM numbers(30)"
)
_BREACHES = (
    "INSERT INTO {0}.kpi_breaches (detected_at, breach_id, state, metric, value, threshold, model, examples) "
    "VALUES (now64(3), 'b1', 'breached', 'error_rate', 0.1, 0.05, 'm1', ['0', '1'])"
)


@pytest.fixture
def runner(store: RunningStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> CliRunner:
    """A folder without an installation, and a store with thirty requests of now."""
    url = urlsplit(fresh_database(store))
    for sql in (_REQUESTS, _BREACHES):
        store.ask(sql.format(url.path.strip("/")))
    monkeypatch.chdir(tmp_path)
    return CliRunner(
        env={
            "TOCSIN_CLICKHOUSE_URL": url._replace(netloc=f"{url.hostname}:{url.port}").geturl(),
            "TOCSIN_ANALYST_USER": url.username,
            "TOCSIN_ANALYST_PASSWORD": url.password,
        }
    )


def test_window_breaches_and_scores_are_shown(runner: CliRunner) -> None:
    """As tables, for people."""
    told = runner.invoke(app, ["kpi"])
    assert told.exit_code == 0, told.output
    lines = told.output.splitlines()
    assert lines[0] == "The last 5 minutes, by model"
    assert lines[2].split()[:3] == ["m1", "30", "0.1"]
    assert any("error_rate" in one and "0.05" in one for one in lines)
    score = next(one for one in lines[6:] if one.startswith("m1")).split()
    assert score[1] == "50"


def test_json_has_everything_and_users_beyond_the_count_together(runner: CliRunner) -> None:
    """What programs read."""
    told = runner.invoke(app, ["kpi", "--by", "user", "--count", "2", "--json"])
    assert told.exit_code == 0, told.output
    found = json.loads(told.output)
    assert [row["name"] for row in found["window"]] == ["(other)", "acme/u0", "acme/u1"]
    assert found["window"][0]["errors_by_type"] == {"lost": 1}
    assert found["open_breaches"][0]["examples"] == ["0", "1"]
    assert found["scores"][0]["score"] == 50.0


def test_other_groupings_are_refused_by_name(runner: CliRunner) -> None:
    """Before anything is asked."""
    told = runner.invoke(app, ["kpi", "--by", "key"])
    assert told.exit_code == 2
    assert "model, tenant, user, all" in told.output.replace("\n", " ")
