"""`tocsin up`: one installation on this machine, from nothing to a line that can be
pasted.
"""

import asyncio
import json
import logging
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import psutil

from services.common.errors import ConfigError, TocsinError
from services.common.process.secret_files import with_secret_files
from services.common.requests.model_catalogue import load_models
from services.embedded.installation.child_environment import (
    SECRETS,
    child_environment,
    proxy_exceptions,
    with_whole_paths,
)
from services.embedded.installation.home import Home, write_private
from services.embedded.installation.ports import wished_host
from services.embedded.installation.private_ray import clear_ray_folder
from services.embedded.installation.process_table import (
    Addresses,
    Given,
    build_table,
    choose_ports,
    service_environment,
    store_passwords,
    unusual_ports,
)
from services.embedded.kafka.broker import Distribution, find_distribution
from services.embedded.supervision.log_console import Console
from services.embedded.supervision.process_sessions import kill_session, tie_to_parent
from services.embedded.supervision.processes import ROOT, PortTakenError, ProcessSpec
from services.embedded.supervision.supervisor import Supervisor

_PLANS = 3
_KEY_TIMEOUT_S = 60.0
_DETACHED_TIMEOUT_S = 3600.0  # the start itself gives up before, unless it gets on


def up(*, gateways: int = 1, home: Home | None = None, quiet: bool = False) -> int:
    """Runs until it is told to stop; returns the exit status: 0, or 1 if something did
    not start, or 2 if a setting is wrong. `quiet` leaves out the summary, which shows a
    key.
    """
    home = home or Home()

    def plan() -> Installation:
        environ = with_secret_files(os.environ, (*SECRETS, "TOCSIN_KAFKA_PASSWORD"))
        return replace(Installation.plan(home, gateways, environ), quiet=quiet)

    return run_alone(home, plan)


def run_alone(home: Home, plan: Callable[[], "Installation"]) -> int:
    """Runs what is planned, unless another supervisor has this home."""
    try:
        home.create()
    except ConfigError as error:
        print(error, file=sys.stderr)  # noqa: T201
        return 2
    lock = home.lock()
    if lock is None:
        print(  # noqa: T201  the answer of a command
            f"Tocsin runs already: {home.read_state().get('url', 'it is just starting')} (data in "
            f"{home.root}). `tocsin status` shows more."
        )
        return 0
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)  # the probe expects Kafka to be away at times
    with lock:
        try:
            _take_over(home)
            _run(plan)
        except TocsinError as error:
            print(error, file=sys.stderr)  # noqa: T201
            return 2 if isinstance(error, ConfigError) else 1
    return 0


def _run(plan: Callable[[], "Installation"]) -> None:
    """Runs it; where a port was taken between its choice and its use, plans anew, with
    other ports.
    """
    for attempt in range(1, _PLANS + 1):
        try:
            return asyncio.run(plan().run())
        except PortTakenError as error:
            if attempt == _PLANS:
                raise
            print(f"{error} Starting again on another one.", file=sys.stderr)  # noqa: T201
    return None


def up_detached(*, gateways: int = 1, home: Home | None = None) -> int:
    """Starts `tocsin up` in the background and returns once it is ready, with the same
    summary.
    """
    home = home or Home()
    try:
        home.create()
    except ConfigError as error:
        print(error, file=sys.stderr)  # noqa: T201
        return 2
    if home.is_locked():
        return up(gateways=gateways, home=home)
    log = home.logs / "up.log"
    write_private(log, "")
    command = [sys.executable, "-m", "services.cli", "up", "--quiet", "--gateways", str(gateways)]
    with log.open("ab") as output:
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            env={**with_whole_paths(os.environ), "TOCSIN_HOME": str(home.root)},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    deadline = time.monotonic() + _DETACHED_TIMEOUT_S
    while not (home.read_state().get("pid") == process.pid and home.read_state().get("state") == "ready"):
        if process.poll() is not None or time.monotonic() > deadline:
            print(log.read_text(encoding="utf-8", errors="replace")[-4000:], file=sys.stderr)  # noqa: T201
            return process.poll() or _still_starting(home, log)
        time.sleep(0.1)
    print(home.read_state()["summary"])  # noqa: T201
    return 0


def _still_starting(home: Home, log: Path) -> int:
    print(  # noqa: T201
        f"Tocsin in {home.root} is still starting after {_DETACHED_TIMEOUT_S / 60:.0f} minutes and goes on; "
        f"{log} says what it waits for, `tocsin down` ends it.",
        file=sys.stderr,
    )
    return 1


@dataclass
class Installation:
    """One run of it: where things are, and what is known so far."""

    home: Home
    addresses: Addresses
    passwords: Mapping[str, str]
    environment: Mapping[str, str]
    table: list[ProcessSpec]
    quiet: bool = False
    state: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def plan(cls, home: Home, gateways: int, environ: Mapping[str, str]) -> "Installation":
        """Decides on everything; fetches Kafka's jars where this machine has none.

        Raises:
            ConfigError: a setting is wrong, or Kafka can't be had.
        """
        before = home.read_state()
        given = Given.read(environ, before.get("ours", {}))
        host = wished_host(environ)
        distribution: Distribution | None = find_distribution() if given.kafka_url is None else None
        ports = choose_ports(gateways, before.get("ports", {}), _wished_ports(environ), host)
        addresses = Addresses(ports, given, home.secrets()["kafka_password"], host)
        passwords = store_passwords(home) if given.clickhouse_url is None else {}
        environment = service_environment(home, addresses, passwords, environ)
        clear_ray_folder(home)
        home.keep_environment(environment)
        admin_url = addresses.clickhouse_url_of("admin", passwords.get("admin", ""))
        table = build_table(
            home, addresses, environment, admin_url=admin_url, gateways=gateways, distribution=distribution
        )
        return cls(home, addresses, passwords, environment, table)

    async def run(self) -> None:
        """Runs the processes until they are told to stop.

        Raises:
            TocsinError: something did not start.
        """
        console = Console(self.home.logs, everything=os.environ.get("TOCSIN_LOG_LEVEL") == "debug")
        self.state = {
            "pid": os.getpid(),
            "url": self.addresses.gateway_url,
            "ours": self.addresses.ours,
            "ports": {**self.home.read_state().get("ports", {}), **self.addresses.ports},
        }
        supervisor = Supervisor(self.table, console, self._report)
        console.say(f"starting; data and logs in {self.home.root}")
        if unusual := unusual_ports(self.addresses.ports):
            console.say(f"ports that were taken or chosen otherwise: {unusual}")
        try:
            async with asyncio.TaskGroup() as group:
                announcing = group.create_task(self._announce(supervisor, console))
                await supervisor.run()
                announcing.cancel()
        except* TocsinError as errors:
            raise errors.exceptions[0] from None
        finally:
            console.say("stopped")
            console.close()

    def _report(self, state: str, processes: list[dict[str, Any]]) -> None:
        """Writes it down for `tocsin status`; it is ready when connection.env is there
        too.
        """
        ready = state == "ready" and "summary" in self.state
        self.state |= {
            "state": "starting" if state == "ready" and not ready else state,
            "processes": processes,
        }
        self.home.write_state(self.state)

    async def _announce(self, supervisor: Supervisor, console: Console) -> None:
        """Once all is ready: the first key, connection.env, and what to paste."""
        await supervisor.ready.wait()
        key = self.home.secrets().get("first_signed_key") or await self._first_key()
        values = {
            "TOCSIN_HOME": str(self.home.root),
            "OPENAI_BASE_URL": f"{self.addresses.gateway_url}/v1",
            "OPENAI_API_KEY": key,
            "TOCSIN_KAFKA_URL": self.addresses.kafka_url,
            "TOCSIN_CLICKHOUSE_URL": self.addresses.clickhouse_url,
        }
        if password := self.passwords.get("analyst"):
            values |= {"TOCSIN_ANALYST_USER": "analyst", "TOCSIN_ANALYST_PASSWORD": password}
        self.home.write_connection(values | proxy_exceptions(os.environ))
        self.state["summary"] = self._summary(key)
        if not self.quiet:
            console.show(self.state["summary"])
        supervisor.announced()

    async def _first_key(self) -> str:
        """Has `tocsin keys create` make the first API key, and keeps it.

        Raises:
            TocsinError: it made none.
        """
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "services.cli",
            "keys",
            "create",
            "--name",
            "first",
            *("--scopes", "infer,feedback,read,admin,platform"),
            "--json",
            cwd=ROOT,
            env=child_environment(os.environ, self.environment),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            preexec_fn=tie_to_parent(),
        )
        out, err = await asyncio.wait_for(process.communicate(), _KEY_TIMEOUT_S)
        try:
            key = str(json.loads(out)["key"])
        except (ValueError, KeyError) as error:
            raise TocsinError(
                f"`tocsin keys create` made no key (status {process.returncode}): "
                f"{err.decode(errors='replace')[-2000:]}"
            ) from error
        self.home.keep_secrets(self.home.secrets() | {"first_signed_key": key})
        return key

    def _summary(self, key: str) -> str:
        model = load_models(_models_file(self.environment))[0].name
        body = json.dumps(
            {"model": model, "stream": True, "messages": [{"role": "user", "content": "Name three colours."}]}
        )
        lines = [
            "",
            f"Tocsin is ready: {self.addresses.gateway_url}   first API key: {key}",
            "",
            (
                f"  curl -N {self.addresses.gateway_url}/v1/chat/completions -H 'Authorization: Bearer "
                f"{key}' -H 'Content-Type: application/json' -d '{body}'"
            ),
        ]
        if password := self.passwords.get("analyst"):
            store = self.addresses.clickhouse_url.removesuffix("/tocsin")
            query = "SELECT * FROM tocsin.v_requests ORDER BY completed_at DESC LIMIT 3 FORMAT Vertical"
            lines.append(f'  curl {store} -u analyst:{password} --data-binary "{query}"')
        lines += [
            f"  source {self.home.connection_file}   # then openai.OpenAI() finds it by itself",
            "",
            "Ctrl-C or `make down` (`tocsin down`) stops it all.",
        ]
        return "\n".join(lines)


def _wished_ports(environ: Mapping[str, str]) -> dict[str, int]:
    value = environ.get("TOCSIN_GATEWAY_PORT")
    if not value:
        return {}
    if not value.isdecimal() or not 0 < int(value) < 65536:
        raise ConfigError(
            f"TOCSIN_GATEWAY_PORT={value!r} is no port: set a number from 1 to 65535, or leave it out for "
            "8000."
        )
    return {"gateway": int(value)}


def _models_file(environment: Mapping[str, str]) -> Path:
    return ROOT / (
        environment.get("TOCSIN_MODELS_FILE")
        or os.environ.get("TOCSIN_MODELS_FILE")
        or "infra/models/models.yaml"
    )


def _take_over(home: Home) -> None:
    """Begins a new state, which keeps of the last one what the next start needs: ports
    and addresses.

    Kills what a supervisor that was killed may have left, should its orphan reaper have
    died with it.
    """
    before = home.read_state()
    for entry in before.get("processes", []):
        pid, started = entry.get("pid"), entry.get("started")
        with suppress(psutil.NoSuchProcess):
            if pid and started and abs(psutil.Process(pid).create_time() - started) < 1.0:
                kill_session(pid)
    kept = {name: before[name] for name in ("ports", "ours") if name in before}
    home.write_state(kept | {"pid": os.getpid(), "state": "starting", "processes": []})
