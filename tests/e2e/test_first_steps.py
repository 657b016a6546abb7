"""A newcomer's first steps on a really started Tocsin: the SDK, curl, the store."""

import json
import os
import re
import subprocess
import sys
import time
from decimal import Decimal
from pathlib import Path

import clickhouse_connect
import openai
import pytest

from tests.support.installation import ROOT, Installation

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(400)]


@pytest.fixture
def client(tocsin: Installation, monkeypatch: pytest.MonkeyPatch) -> openai.OpenAI:
    """The bare `openai.OpenAI()` of somebody who sourced connection.env."""
    for name, value in tocsin.environment.items():
        monkeypatch.setenv(name, value)
    return openai.OpenAI(max_retries=0)


def test_chat_real_model_streams_a_sensible_answer(client: openai.OpenAI) -> None:
    """SmolLM2 knows France's capital, and its tokens come one after the other."""
    chunks = client.chat.completions.create(
        model="smollm2-135m",
        messages=[{"role": "user", "content": "What is the capital of France?"}],
        stream=True,
        temperature=0,
        max_tokens=20,
    )
    pieces = [
        chunk.choices[0].delta.content for chunk in chunks if chunk.choices and chunk.choices[0].delta.content
    ]
    assert "Paris" in "".join(pieces)
    assert len(pieces) > 3


def test_curl_line_streams_until_done(tocsin: Installation) -> None:
    """What a terminal shows: event by event, [DONE] at the end."""
    body = (
        '{"model": "smollm2-135m", "stream": true, "max_tokens": 5, "messages": [{"role": "user", '
        '"content": "Hello"}]}'
    )
    done = subprocess.run(
        [
            "curl",
            "-sN",
            f"{tocsin.base_url}/chat/completions",
            "-H",
            f"Authorization: Bearer {tocsin.key}",
            "-H",
            "Content-Type: application/json",
            "-d",
            body,
        ],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert done.stdout.rstrip().endswith("data: [DONE]")


def test_schema_that_would_stop_the_model_is_refused_and_an_ordinary_one_is_held(
    client: openai.OpenAI,
) -> None:
    """The replica and its process for grammars, within Ray."""

    def ask(schema: dict[str, object]) -> str:
        form = {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema}}
        made = client.chat.completions.create(
            model="smollm2-135m",
            messages=[{"role": "user", "content": "An age as JSON"}],
            response_format=form,  # type: ignore[arg-type]
            max_tokens=30,
        )
        return made.choices[0].message.content or ""

    patterns = [{"type": "string", "pattern": f"^.*q{one}.*r{one}.*s{one}.*$"} for one in range(40)]
    with pytest.raises(openai.BadRequestError, match="too much memory"):
        ask({"allOf": patterns})
    age = {"type": "object", "properties": {"age": {"enum": [7, 8]}}, "required": ["age"]}
    assert json.loads(ask(age | {"additionalProperties": False}))["age"] in {7, 8}


@pytest.mark.parametrize(
    ("error", "status", "ask"),
    [
        (
            openai.NotFoundError,
            404,
            {"model": "no-such-model", "messages": [{"role": "user", "content": "a"}]},
        ),
        (openai.BadRequestError, 400, {"model": "scripted", "messages": "not a list"}),
        (
            openai.APIStatusError,
            413,
            {"model": "scripted", "messages": [{"role": "user", "content": "a" * 3_000_000}]},
        ),
    ],
)
def test_sdk_bad_request_raises_the_right_exception(
    client: openai.OpenAI, error: type[openai.APIStatusError], status: int, ask: dict[str, object]
) -> None:
    """Each mistake is told as the SDK's own exception."""
    with pytest.raises(error) as raised:
        client.chat.completions.create(**ask)  # type: ignore[call-overload]
    assert raised.value.status_code == status


def test_sdk_bad_key_raises_authentication_error(tocsin: Installation) -> None:
    """A wrong key is 401."""
    wrong = "tsn_aaaaaaaa_" + "a" * 43
    with pytest.raises(openai.AuthenticationError):
        openai.OpenAI(base_url=tocsin.base_url, api_key=wrong, max_retries=0).models.list()


def test_request_recorded_analyst_finds_it_with_its_figures(
    tocsin: Installation, client: openai.OpenAI
) -> None:
    """The analyst sees tokens, cost, times, model and tenant, no text, and a ledger
    without a gap.
    """
    answer = client.chat.completions.create(
        model="smollm2-135m", messages=[{"role": "user", "content": "Name a colour."}], max_tokens=8
    )
    row = wait_for_row(tocsin, answer.id)
    assert row["model"] == "smollm2-135m"
    assert row["tenant"] == "default"
    assert answer.usage is not None
    assert (row["prompt_tokens"], row["completion_tokens"]) == (
        answer.usage.prompt_tokens,
        answer.usage.completion_tokens,
    )
    assert float(row["cost_usd"]) > 0
    assert row["duration_ms"] >= row["ttft_ms"] > 0
    said = answer.choices[0].message.content
    assert (row["prompt_text"], row["response_text"]) == ("Name a colour.", said)
    (ledger,) = tocsin.query(
        "SELECT toInt64(sum(gaps)) AS gaps, toInt64(sum(doubles)) AS doubles FROM v_ledger"
    )
    assert (int(ledger["gaps"]), int(ledger["doubles"])) == (0, 0)


def test_store_clickhouse_connect_as_analyst_reads_and_cannot_write(tocsin: Installation) -> None:
    """The ordinary client works, with the analyst's rights."""
    address = tocsin.environment["TOCSIN_CLICKHOUSE_URL"].split("//")[1].split("/")[0].rpartition("@")[2]
    host, _, port = address.partition(":")
    analyst = clickhouse_connect.get_client(
        host=host,
        port=int(port),
        user=tocsin.environment["TOCSIN_ANALYST_USER"],
        password=tocsin.environment["TOCSIN_ANALYST_PASSWORD"],
        database="tocsin",
        autogenerate_session_id=False,
    )
    assert analyst.query("SELECT count() FROM inference_events").result_rows[0][0] >= 0
    with pytest.raises(clickhouse_connect.driver.exceptions.DatabaseError):
        analyst.command("DROP TABLE inference_events")
    analyst.close()


def test_readmes_lines_on_money_do_what_they_say(tocsin: Installation) -> None:
    """Tenant, key, budget, an answer, a refusal, its cost: the very lines, in bash."""
    lines = re.search(r"## Limits and money\n.*?```\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    assert lines is not None
    script = lines[1].replace(".tocsin/connection.env", str(tocsin.home / "connection.env"))
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("TOCSIN_", "OPENAI_"))}
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        cwd=ROOT,
        env=kept | {"TOCSIN_HOME": str(tocsin.home), "PATH": path},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    answer, refusal = (json.loads(line) for line in done.stdout.splitlines() if line.startswith("{"))
    assert answer["usage"]["completion_tokens"] > 0
    assert refusal["error"]["code"] == "insufficient_quota"
    assert done.stdout.splitlines()[-1].startswith("total")
    row = wait_for_row(tocsin, answer["id"])
    costs = tocsin.command("costs", "--tenant", "clinic", "--group-by", "key", "--json")
    (group,) = json.loads(costs.stdout)["groups"]
    assert (group["key"], Decimal(group["cost_usd"])) == (row["key_id"], Decimal(str(row["cost_usd"])))
    assert 0 < Decimal(group["cost_usd"]) < Decimal("0.00001")


def test_connection_file_is_private(tocsin: Installation) -> None:
    """Only its owner may read the first key."""
    assert os.stat(tocsin.home / "connection.env").st_mode & 0o777 == 0o600  # noqa: PTH116


def wait_for_row(tocsin: Installation, request_id: str, timeout_s: float = 60.0) -> dict[str, object]:
    """The request's row, once the recorder has written it."""
    end_s = time.monotonic() + timeout_s
    while time.monotonic() < end_s:
        rows = tocsin.query(f"SELECT * FROM inference_events WHERE request_id = '{request_id}'")
        if rows:
            return rows[0]
        time.sleep(0.2)
    raise AssertionError(f"{request_id} was not recorded within {timeout_s} s")


def test_doctor_in_another_shell_asks_for_the_topics_that_there_are(tocsin: Installation) -> None:
    """It takes the models file of the installation that runs, which its shell was never
    told of.
    """
    kept = {name: value for name, value in os.environ.items() if not name.startswith("TOCSIN_")}
    done = subprocess.run(
        [sys.executable, "-m", "services.cli", "doctor"],
        env=kept | {"TOCSIN_HOME": str(tocsin.home)},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert "are there" in done.stdout.splitlines()[0], done.stdout + done.stderr
