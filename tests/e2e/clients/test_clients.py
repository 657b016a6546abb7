"""Real clients, unchanged, do what `scenarios.yaml` says; `make clients` installs them."""

import asyncio
import json
import os
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from schemas.inference import Outcome
from tests.e2e.clients.stack import Stack, running_stack
from tests.support.inference.in_process import completed_events
from tests.support.kafka import Broker

pytestmark = pytest.mark.slow  # whichever of these is first waits for every driver
HERE = Path(__file__).parent
INSTALLED = Path(os.environ.get("TOCSIN_CLIENTS", HERE.parents[2] / ".clients"))
GIVEN: dict[str, Any] = yaml.safe_load((HERE / "scenarios.yaml").read_text())
SCENARIOS: list[dict[str, Any]] = GIVEN["scenarios"]
UNSUPPORTED: dict[str, list[str]] = GIVEN["unsupported"]
TIMEOUT_S = 120.0
_ENVIRONMENTS = {"llama_index_like": "llamaindex"}


@dataclass(frozen=True)
class Driver:
    """How a client's driver is run, and what must be there for it."""

    command: tuple[str, ...]
    needs: Path

    @property
    def installed(self) -> bool:
        """Whether it can run."""
        return self.needs.exists() and shutil.which(self.command[0]) is not None


def drivers() -> dict[str, Driver]:
    """Every client's, installed or not."""
    found = {}
    for file in sorted((HERE / "drivers").iterdir()):
        if file.stem == "protocol":
            continue
        if file.suffix == ".mjs":  # run from beside its packages: that is where node looks for them
            node = INSTALLED / "node"
            found[file.stem] = Driver(("node", str(node / file.name)), node / "node_modules")
        elif file.suffix == ".py":
            python = INSTALLED / _ENVIRONMENTS.get(file.stem, "python") / "bin/python"
            found[file.stem] = Driver((str(python), str(file)), python)
    curl = shutil.which("curl") or "curl"
    found["curl_shell"] = Driver((sys.executable, *found["curl_shell"].command[1:]), Path(curl))
    return found


DRIVERS = drivers()


@dataclass
class Played:
    """What every driver said, and where."""

    stack: Stack
    results: dict[str, Any]


@pytest.fixture(scope="module")
def played(kafka: Broker, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Played]:
    """All installed drivers, two at a time, against one stack."""
    there = [client for client, driver in DRIVERS.items() if driver.installed]
    if not there:
        pytest.skip("no client is installed here: make clients")
    for script in (HERE / "drivers").glob("*.mjs") if (INSTALLED / "node").is_dir() else ():
        shutil.copy(script, INSTALLED / "node")
    with running_stack(kafka.bootstrap, tmp_path_factory.mktemp("clients"), there) as stack:
        yield Played(stack, asyncio.run(_play(stack, there)))


async def _play(stack: Stack, clients: list[str]) -> dict[str, Any]:
    room = asyncio.Semaphore(2)

    async def one(client: str) -> Any:
        async with room:
            return await _driver(stack, client)

    return dict(zip(clients, await asyncio.gather(*map(one, clients)), strict=True))


async def _driver(stack: Stack, client: str) -> Any:
    task = {
        "url": f"{stack.address}/v1",
        "flaky_url": f"{stack.flaky_address}/{client}/v1",
        "key": stack.keys[client],
        "model": stack.model,
        "slow_model": stack.slow_model,
        "scenarios": SCENARIOS,
    }
    process = await asyncio.create_subprocess_exec(
        *DRIVERS[client].command,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(TIMEOUT_S):
            out, err = await process.communicate(json.dumps(task).encode())
    except TimeoutError:
        process.kill()
        return f"the driver took longer than {TIMEOUT_S} s"
    try:
        return json.loads(out)
    except ValueError:
        return f"exit {process.returncode}: {out.decode()[-500:]} {err.decode()[-2000:]}"


@pytest.mark.timeout(300)
@pytest.mark.parametrize("client", sorted(DRIVERS))
def test_client_does_what_the_scenarios_say(played: Played, client: str) -> None:
    """Every scenario, but those that the client has no way to ask."""
    if client not in played.results:
        pytest.skip(f"{client} is not installed here: make clients")
    results = played.results[client]
    assert isinstance(results, dict), results
    wrong = []
    for scenario in SCENARIOS:
        name, result = scenario["name"], results[scenario["name"]]
        if scenario["do"] in UNSUPPORTED.get(client, ()):
            assert result == {"unsupported": True}, (name, result)
            continue
        told = {key: result.get(key) for key in scenario["expect"]}
        least = scenario.get("at_least", {})
        if told != scenario["expect"] or any(result.get(key, 0) < bound for key, bound in least.items()):
            wrong.append((name, result))
    assert not wrong, "\n".join(f"{name}: {result}" for name, result in wrong)
    assert played.stack.flaky.tries[client] == 2


@pytest.mark.timeout(300)
async def test_clients_that_leave_cancel_their_requests(played: Played) -> None:
    """Each had one that began and one that it did not wait for: both were taken back."""
    clients = [client for client in played.results if isinstance(played.results[client], dict)]
    events = await completed_events(played.stack.kafka_url, played.stack.slow_model, 2 * len(clients))
    for client in clients:
        mine = [event for event in events if event.key_id == played.stack.key_ids[client]]
        assert [event.outcome for event in mine] == [Outcome.CANCELLED] * 2, client
