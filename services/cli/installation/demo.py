"""`tocsin demo`: a few questions to the installation that runs here, and what was
recorded of them.
"""

import base64
import json
import time
import urllib.request
from typing import Any

from services.common.errors import ConfigError
from services.embedded.installation.home import Home

QUESTIONS = (
    "What is the capital of France?",
    "Write one sentence about the sea.",
    "Dis bonjour en français.",
)
_TIMEOUT_S = 60.0
_RECORDED_WITHIN_S = 15.0


def demo(home: Home | None = None) -> int:
    """Asks, shows the answers and the rows; returns the exit status.

    Raises:
        ConfigError: nothing runs in this home.
    """
    home = home or Home()
    if not home.is_locked() or not home.connection_file.exists():
        raise ConfigError(f"Tocsin does not run in {home.root}; `make up` starts it")
    settings = home.read_connection()
    asked = [_ask(settings, question) for question in QUESTIONS]
    print("\nWhat was recorded (texts masked; TOCSIN_STORE_TEXT=none for none):")
    print(_recorded(settings, asked))
    return 0


def _ask(settings: dict[str, str], question: str) -> str:
    body = {"model": _model(settings), "messages": [{"role": "user", "content": question}], "max_tokens": 60}
    headers = {"authorization": f"Bearer {settings['OPENAI_API_KEY']}", "content-type": "application/json"}
    answer: dict[str, Any] = json.loads(
        _send(f"{settings['OPENAI_BASE_URL']}/chat/completions", json.dumps(body).encode(), headers)
    )
    print(f"\n> {question}\n{answer['choices'][0]['message']['content'].strip()}")
    return str(answer["id"])


def _model(settings: dict[str, str]) -> str:
    headers = {"authorization": f"Bearer {settings['OPENAI_API_KEY']}"}
    return str(json.loads(_send(f"{settings['OPENAI_BASE_URL']}/models", None, headers))["data"][0]["id"])


def _recorded(settings: dict[str, str], request_ids: list[str]) -> str:
    names = ", ".join(f"'{request_id}'" for request_id in request_ids)
    columns = (
        "model, outcome, prompt_tokens, completion_tokens, round(ttft_ms) AS ttft_ms, "
        "round(duration_ms) AS duration_ms, cost_usd"
    )
    sql = (
        f"SELECT {columns} FROM tocsin.inference_events "  # noqa: S608  names of ours
        f"WHERE request_id IN ({names}) ORDER BY "
        "completed_at FORMAT PrettyCompact"
    )
    login = base64.b64encode(
        f"{settings['TOCSIN_ANALYST_USER']}:{settings['TOCSIN_ANALYST_PASSWORD']}".encode()
    ).decode()
    store = settings["TOCSIN_CLICKHOUSE_URL"].rpartition("/")[0] + "/"  # the path names the database
    end_s, table = time.monotonic() + _RECORDED_WITHIN_S, ""
    while time.monotonic() < end_s and f"{len(request_ids)}. │" not in table:
        time.sleep(0.3)
        table = _send(store, sql.encode(), {"authorization": f"Basic {login}"}).decode()
    return table


def _send(url: str, body: bytes | None, headers: dict[str, str]) -> bytes:
    with urllib.request.urlopen(urllib.request.Request(url, body, headers), timeout=_TIMEOUT_S) as answer:  # noqa: S310  addresses of our own installation
        return bytes(answer.read())
