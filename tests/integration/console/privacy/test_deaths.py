"""Erasures whatever dies: the console at every step, the store, the broker."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from uuid import uuid4

import httpx
import pytest

from services.embedded.installation.ports import free_port
from tests.integration.console.conftest import Platform
from tests.integration.console.privacy.conftest import PSEUDONYM_KEY, People
from tests.integration.console.privacy.test_erasure import assert_gone, begin, counts, finished
from tests.support.control import PEPPER
from tests.support.kafka import Broker

pytestmark = pytest.mark.timeout(420)


@dataclass
class ConsoleProcess:
    """`python -m services.console`, to be killed."""

    platform: Platform
    log: Path
    port: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Starts it."""
        environment = os.environ | {
            "TOCSIN_KAFKA_URL": self.platform.kafka_url,
            "TOCSIN_CLICKHOUSE_URL": self.platform.store_url,
            "TOCSIN_MODELS_FILE": str(self.platform.models_file),
            "TOCSIN_INSTANCE": f"killed-{uuid4().hex[:6]}",
            "TOCSIN_CONSOLE_PORT": str(self.port),
            "TOCSIN_KEY_PEPPER": PEPPER,
            "TOCSIN_PSEUDONYM_KEY": PSEUDONYM_KEY,
            "TOCSIN_ERASURE_SETTLE_S": "0",
            "TOCSIN_ERASURE_PATIENCE_S": "0.1",
        }
        with self.log.open("ab") as out:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "services.console"], env=environment, stdout=out, stderr=out
            )

    def kill(self) -> None:
        """Ends it with -9."""
        if self.process is not None:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait(10)
            self.process = None

    async def up(self) -> httpx.AsyncClient:
        """A client of it, once it lets people in."""
        client = httpx.AsyncClient(base_url=f"http://127.0.0.1:{self.port}", timeout=30)
        for _ in range(600):
            try:
                if (await client.get("/ready")).status_code == 200:
                    return client
            except httpx.TransportError:
                pass
            await asyncio.sleep(0.1)
        raise AssertionError(self.log.read_text()[-2000:])


@pytest.fixture
async def console(people: People, tmp_path: Path) -> AsyncIterator[ConsoleProcess]:
    """A console of its own process."""
    found = ConsoleProcess(people.platform, tmp_path / "console.log")
    found.start()
    yield found
    found.kill()


async def places_done(client: httpx.AsyncClient, people: People, receipt_id: str) -> int:
    """In how many places something was begun or done."""
    told = await people.receipt(client, receipt_id)
    return len(told["stores"])


async def test_console_that_is_killed_again_and_again_ends_with_the_same_receipt(
    console: ConsoleProcess, people: People
) -> None:
    """Killed with -9 after every few places: the receipt counts what there was, and nothing
    is left; no log names the person.
    """
    client = await console.up()
    receipt_id = (await begin(client, people))["id"]
    for wanted in (2, 7, 12):
        while (at := await places_done(client, people, receipt_id)) < wanted:
            if (await people.receipt(client, receipt_id))["rounds"]:
                break
            await asyncio.sleep(0.02)
        assert at <= 13
        console.kill()
        console.start()
        await client.aclose()
        client = await console.up()
    receipt = await finished(client, people, receipt_id)
    await client.aclose()
    found = counts(receipt)
    for place, rows in {"requests": 3, "findings": 2, "feedback": 1, "dead letters": 1, "audit": 4}.items():
        assert found[place] == (rows, rows, 0), (place, found)
    await assert_gone(people)
    logged = console.log.read_text()
    assert [one for one in people.jo.strings if one in logged and one != people.jo.key_id] == []


async def test_erasure_waits_for_a_store_and_a_broker_that_die_meanwhile(
    console: ConsoleProcess, people: People, kafka: Broker
) -> None:
    """Both killed with -9 while it is under way: it goes on when they are back."""
    client = await console.up()
    receipt_id = (await begin(client, people))["id"]
    while await places_done(client, people, receipt_id) < 3:  # noqa: ASYNC110  another process works
        await asyncio.sleep(0.02)
    await asyncio.to_thread(people.running.restart, kill=True)
    await asyncio.to_thread(kafka.restart)
    receipt = await finished(client, people, receipt_id)
    await client.aclose()
    assert counts(receipt)["requests"] == (3, 3, 0)
    await assert_gone(people)
