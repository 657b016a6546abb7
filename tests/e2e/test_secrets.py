"""Where the secrets of a running installation are, once everything that can go wrong did:
in files and environments that are its owner's, and in no log, answer, argument or report.
"""

import json
import os
import re
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import psutil
import pytest

from services.embedded.installation.child_environment import SECRETS
from services.embedded.installation.home import Home
from services.embedded.installation.ports import free_port
from services.embedded.supervision.process_sessions import session_members
from tests.e2e.planted_secrets import PLANTED, planted_settings, secrets_of
from tests.support.inference.upstream_process import quoting_upstream
from tests.support.installation import ROOT, Installation, installation

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]
_MODELS = """
models:
  - name: scripted
    engine: scripted
    options: {{tokens_per_s: 0}}
    slots: 8
    num_cpus: 0.1
    price: {{input_per_million_usd: 1, output_per_million_usd: 2}}
    context_length: 100000
  - name: quoting
    engine: openai_compatible
    options: {{base_url: "{url}", model: far, api_key_env: OPENAI_API_KEY, attempts: 1}}
    slots: 8
    num_cpus: 0.1
    price: {{input_per_million_usd: 1, output_per_million_usd: 2}}
    context_length: 100000
"""
_WRONG = "tsn_wrongkey_" + "Zx8Wc5Vb2Nm9Qa6Ws3Ed0Rf7Tg4Yh1Uj8Ik5Ol2P"
"""A key that nobody has, as people send it: it is somebody's elsewhere, perhaps."""
_TYPED = "Typed-Pa55word-Lm4Qz"
"""What somebody sends where it does not belong."""


_HOLDING = {"secrets.json", "connection.env", "state.json", "kafka/server.properties"}
"""Files of a home that may hold secrets."""


@dataclass
class Planted:
    """The installation, what to look for, and all that it answered."""

    running: Installation
    secrets: dict[str, str]
    answers: list[str] = field(default_factory=list)

    def ask(self, method: str, path: str, **options: object) -> httpx.Response:
        """Asks the gateway; the answer, head and body, is looked through later."""
        base = self.running.base_url.removesuffix("/v1")
        return self.keep(httpx.request(method, base + path, timeout=60, **options))  # type: ignore[arg-type]

    def keep(self, answer: httpx.Response) -> httpx.Response:
        """Keeps an answer."""
        self.answers.append(f"{answer.url.path} {answer.status_code} {answer.headers} {answer.text}")
        return answer

    def leaked(self, text: str, *, but: frozenset[str] = frozenset()) -> list[str]:
        """The names of the secrets that a text holds."""
        return [name for name, value in self.secrets.items() if value in text and name not in but]


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Planted]:
    """An installation whose secrets are known, after it was used well and badly."""
    folder, closed = tmp_path_factory.mktemp("planted"), free_port()
    with quoting_upstream() as url:
        (folder / "models.yaml").write_text(_MODELS.format(url=url))
        settings = planted_settings(folder, closed) | {
            "TOCSIN_MODELS_FILE": str(folder / "models.yaml"),
            "TOCSIN_EGRESS_ALLOWED": "127.0.0.1",
            "TOCSIN_DISPATCHERS": "1",  # nothing is measured here, and each is a process
            "TOCSIN_JWT_ALGORITHMS": "HS256",
            "TOCSIN_JWT_ISSUER": "https://issuer.example",
            "TOCSIN_JWT_AUDIENCE": "tocsin",
        }
        with installation(settings, home=folder / "home") as running:
            found = Planted(running, secrets_of(Home(running.home).secrets(), settings))
            _use(found)
            _misuse(found)
            _crash(found)
            yield found


def _use(planted: Planted) -> None:
    """What a newcomer does: whole, streamed, by the console, by commands."""
    key = {"authorization": f"Bearer {planted.running.key}"}
    body = {"model": "scripted", "max_tokens": 4, "messages": [{"role": "user", "content": "Hello"}]}
    assert planted.ask("POST", "/v1/chat/completions", headers=key, json=body).status_code == 200
    assert planted.ask("POST", "/v1/chat/completions", headers=key, json=body | {"stream": True}).is_success
    assert planted.ask("POST", "/api/auth/session", json={"key": planted.running.key}).is_success
    for path in (
        "/api/status",
        "/api/me",
        "/api/me/keys",
        "/api/me/limits",
        "/api/costs",
        "/api/admin/audit",
    ):
        planted.ask("GET", path, headers=key)
    for plural in ("keys", "users", "tenants", "budgets", "models", "routes", "thresholds", "policies"):
        assert planted.ask("GET", f"/api/admin/{plural}", headers=key).status_code == 200, plural
    for path in ("/v1/models", "/health", "/ready", "/metrics", "/openapi.json", "/api/openapi.json"):
        planted.ask("GET", path, headers=key)
    for port in json.loads((planted.running.home / "state.json").read_text())["ports"].values():
        for path in ("/ready", "/metrics", "/health"):
            with suppress(httpx.HTTPError):  # Kafka has no such door
                planted.keep(httpx.get(f"http://127.0.0.1:{port}{path}", timeout=10))
    for command in (("status",), ("doctor",), ("keys", "list"), ("audit", "list", "--json")):
        done = planted.running.command(*command)
        planted.answers.append(f"tocsin {' '.join(command)} {done.stdout} {done.stderr}")


def _misuse(planted: Planted) -> None:
    """Wrong keys, in wrong places, broken bodies, upstreams that are away or quote us."""
    key = {"authorization": f"Bearer {planted.running.key}"}
    chat = "/v1/chat/completions"
    message = {"messages": [{"role": "user", "content": "Hello"}]}
    for header in (f"Bearer {_WRONG}", _WRONG, f"Basic {_TYPED}", "Bearer a.b.c"):
        assert planted.ask("POST", chat, headers={"authorization": header}).status_code == 401
        assert planted.ask("GET", "/api/admin/keys", headers={"authorization": header}).status_code == 401
    planted.ask("GET", f"/v1/models?api_key={_WRONG}&password={_TYPED}", headers=key)
    planted.ask("GET", f"/api/admin/keys?key={_WRONG}", headers=key)
    planted.ask("GET", f"/v1/{_TYPED}", headers=key)
    for broken in (b'{"model": "scripted", "messages": [{"' + _TYPED.encode(), b"\xff", b"[]"):
        assert planted.ask("POST", chat, headers=key, content=broken).status_code in (400, 415)
    assert planted.ask("POST", chat, headers=key, json={"model": _TYPED} | message).status_code == 404
    wrong = {"model": "scripted", "temperature": _TYPED} | message
    assert planted.ask("POST", chat, headers=key, json=wrong).status_code == 400
    assert planted.ask("POST", "/api/auth/token", headers=key, json={"secret": _TYPED}).status_code == 400
    for model in ["quoting"] * 4:
        answer = planted.ask("POST", chat, headers=key, json={"model": model} | message)
        assert answer.status_code in (400, 429, 502, 503), answer.text


def _crash(planted: Planted) -> None:
    """Services whose address, password or port is wrong; the bus and the store die; so
    does each service.
    """
    with ThreadPoolExecutor() as pool:
        for said in pool.map(lambda attempt: attempt(), _failures(planted.running)):
            planted.answers.append(said)
    for role in ("kafka", "store", "gateway", "console", "analyzer"):
        os.kill(_pid(planted, role), signal.SIGKILL if role in ("kafka", "store") else signal.SIGABRT)
    _wait_until_it_answers(planted)


def _failures(running: Installation) -> list[Callable[[], str]]:
    """Commands and a gateway that fail: what each says."""
    environment = Home(running.home).read_environment()
    url, kafka = environment["TOCSIN_CLICKHOUSE_URL"], environment["TOCSIN_KAFKA_URL"]
    pepper = {"TOCSIN_KEY_PEPPER": PLANTED["TOCSIN_KEY_PEPPER"][:12]}
    wrong = [
        (("costs",), {"TOCSIN_CLICKHOUSE_URL": url.replace(f":{urlsplit(url).port}", f":{free_port()}")}),
        (("costs",), {"TOCSIN_CLICKHOUSE_URL": url.replace("service:", "nobody:")}),
        (("keys", "list"), {"TOCSIN_KAFKA_URL": re.sub(r":\d+(\?|$)", f":{free_port()}\\1", kafka)}),
        (("keys", "list"), {"TOCSIN_KAFKA_URL": kafka.replace("@", "@@")}),
        (("keys", "create", "--name", "x"), pepper),
    ]

    def command(arguments: tuple[str, ...], changed: dict[str, str]) -> str:
        done = running.command_with(environment | changed, *arguments)
        assert done.returncode != 0, arguments
        return f"{arguments} {done.stdout} {done.stderr}"

    def gateway() -> str:
        taken = {"TOCSIN_GATEWAY_PORT": str(urlsplit(running.base_url).port), "TOCSIN_LOG_FORMAT": "console"}
        done = subprocess.run(
            [sys.executable, "-m", "services.gateway"],
            cwd=ROOT,
            env={**os.environ, **environment, **taken},
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        assert done.returncode != 0
        return f"gateway {done.stdout} {done.stderr}"

    return [gateway, *(partial(command, *one) for one in wrong)]


def _pid(planted: Planted, role: str) -> int:
    return next(int(one["pid"]) for one in planted.running.status() if one["role"] == role)


def _wait_until_it_answers(planted: Planted, timeout_s: float = 120.0) -> None:
    body = {"model": "scripted", "max_tokens": 4, "messages": [{"role": "user", "content": "Hello"}]}
    key = {"authorization": f"Bearer {planted.running.key}"}
    end_s = time.monotonic() + timeout_s
    while time.monotonic() < end_s:
        with suppress(httpx.HTTPError):
            if planted.ask("POST", "/v1/chat/completions", headers=key, json=body).is_success:
                return
        time.sleep(0.5)
    raise AssertionError(f"no answer {timeout_s} s after the crashes:\n{planted.running.log()}")


def test_no_answer_tells_a_secret(planted: Planted) -> None:
    """Of the API, of health and metrics, of commands, of processes that do not start."""
    assert len(planted.answers) > 50
    assert [(one[:60], leaked) for one in planted.answers if (leaked := planted.leaked(one))] == []


def test_no_log_holds_a_secret_nor_what_somebody_sent_as_one(planted: Planted) -> None:
    """Ours, Kafka's, the store's, Ray's; the console shows the first key and the
    analyst's password once, to be pasted.
    """
    home = planted.running.home
    ray = Path(Home(home).read_environment()["TOCSIN_RAY_TEMP_DIR"])
    logs = [path for folder in (home / "logs", ray, home / "kafka") for path in _files(folder)]
    assert {path.name for path in logs} >= {"gateway.log", "analyzer.log"}
    found = [
        (path.name, leaked, typed)
        for path in logs
        if path.name != "server.properties"  # Kafka's, with its password: mode 600, see below
        for text in [_text(path)]
        for leaked, typed in [(planted.leaked(text), _is_log(path) and (_WRONG in text or _TYPED in text))]
        if leaked or typed
    ]
    assert found == []
    shown = frozenset({"first_signed_key", "store analyst"})
    assert planted.leaked((home / "up.log").read_text(errors="replace"), but=shown) == []


def test_no_other_user_of_the_machine_can_read_one(planted: Planted) -> None:
    """Arguments hold none, environments are their owner's, files that hold one too."""
    for process in _processes(planted.running):
        with suppress(psutil.NoSuchProcess, FileNotFoundError, ProcessLookupError):
            assert planted.leaked(" ".join(process.cmdline())) == [], process.name()
            mode = Path(f"/proc/{process.pid}/environ").stat()
            assert (stat.S_IMODE(mode.st_mode), mode.st_uid) == (0o400, os.getuid())
    holding = {
        path.relative_to(planted.running.home): stat.S_IMODE(path.stat().st_mode)
        for path in _files(planted.running.home)
        if path.name != "up.log" and planted.leaked(_text(path))
    }
    assert set(map(str, holding)) <= _HOLDING
    assert set(holding.values()) == {0o600}
    assert stat.S_IMODE(planted.running.home.stat().st_mode) == 0o700


@pytest.mark.parametrize("role", ["kafka", "store", "analyzer", "inference", "console", "gateway"])
def test_each_process_is_given_its_own_secrets_only(planted: Planted, role: str) -> None:
    """By its environment, itself or by a file."""
    environment = psutil.Process(_pid(planted, role)).environ()
    given = {name for name in SECRETS if environment.get(name) or environment.get(f"{name}_FILE")}
    assert given <= {name for name, kinds in SECRETS.items() if role in kinds}
    assert given >= {name for name in PLANTED if role in SECRETS[name]}


def _processes(running: Installation) -> list[psutil.Process]:
    state = Home(running.home).read_state()
    pids = {pid for one in state["processes"] if one["pid"] for pid in session_members(one["pid"])}
    return [psutil.Process(pid) for pid in sorted(pids | {state["pid"]}) if psutil.pid_exists(pid)]


def _files(folder: Path) -> list[Path]:
    """Those that there are: `Path.rglob` would fail where a folder goes meanwhile."""
    found = (Path(at, name) for at, _, names in os.walk(folder) for name in names)
    return [path for path in found if path.is_file() and not path.is_symlink()]


def _text(path: Path) -> str:
    """What a file holds; nothing where the store or the broker has removed it meanwhile."""
    try:
        return path.read_text(errors="replace")
    except FileNotFoundError:
        return ""


def _is_log(path: Path) -> bool:
    return path.suffix in (".log", ".out", ".err") and "kafka" not in path.parts
