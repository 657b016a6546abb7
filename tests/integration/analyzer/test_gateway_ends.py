"""Ends that gateways make: counted without transactions, recorded once, proven by the
ledger, whatever is killed.
"""

import asyncio
import contextlib
import signal
import sys
from collections.abc import AsyncIterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from schemas.control import ModelChanged
from schemas.inference import Outcome
from schemas.topics import COMPLETED
from services.common.bus import Outgoing
from services.common.bus.administration.admin import provision
from services.common.bus.administration.inspection import lag
from services.common.bus.producers.counting import CountingProducer
from services.common.control import changes
from services.common.errors import BusUnavailableError
from services.gateway.app import build
from services.gateway.settings import Settings
from tests.support.analyzer.recorder_scene import Scene
from tests.support.analyzer.recording import completed, eventually
from tests.support.control import PEPPER, control_writer, make_key

pytestmark = pytest.mark.timeout(300)

MODEL = "switchable"


@contextlib.asynccontextmanager
async def running_gateway(url: str, folder: Path, name: str) -> AsyncIterator[httpx.AsyncClient]:
    """A gateway before one model, and a client of it."""
    models = folder / "models.yaml"
    entry = {"name": MODEL, "engine": "scripted", "context_length": 4096}
    models.write_text(yaml.safe_dump({"models": [entry]}))
    key, _ = await make_key(url)
    gateway = build(
        Settings(
            kafka_url=url,
            models_file=str(models),
            instance=name,
            port=0,
            key_pepper=PEPPER,  # type: ignore[arg-type]
            pseudonym_key="a pseudonym key for tests",  # type: ignore[arg-type]
        )
    )
    await gateway.start()
    working = asyncio.create_task(gateway.run())
    headers = {"authorization": f"Bearer {key}"}
    try:
        base_url = f"http://127.0.0.1:{gateway.port}"
        async with httpx.AsyncClient(base_url=base_url, headers=headers, timeout=30) as client:
            yield client
    finally:
        working.cancel()
        await asyncio.gather(working, return_exceptions=True)
        await gateway.close()


async def ledger_of(scene: Scene, prefix: str) -> dict[str, int]:
    """What the ledger says of all sources of a producer, summed."""
    sql = (
        "SELECT count() AS sources, sum(rows) AS rows, sum(gaps) AS gaps, sum(doubles) AS doubles "
        f"FROM v_ledger WHERE startsWith(source, '{prefix}')"
    )
    return dict((await scene.store.query(sql))[0])


async def test_requests_of_a_switched_off_model_end_once_in_two_gateways(
    scene: Scene, tmp_path: Path
) -> None:
    """An administrator switches a model off: whoever asks is told so, and each request
    has its one end, blocked and free, that the ledger proves.
    """
    url = scene.broker.bootstrap
    (tmp_path / "models.yaml").write_text(yaml.safe_dump({"models": []}))
    await provision(url, [], 0.25)
    scene.recorder.start()
    async with (
        running_gateway(url, tmp_path, "gateway-one") as one,
        running_gateway(url, tmp_path, "gateway-two") as other,
    ):
        await control_writer(url).apply(changes.put(ModelChanged(model=MODEL, enabled=False)))
        body = {"model": MODEL, "messages": [{"role": "user", "content": "hello"}]}

        told = set()

        async def ask(number: int) -> tuple[int, Any, str]:
            client = (one, other)[number % 2]
            answer = await client.post("/v1/chat/completions", json=body | {"stream": number % 3 == 0})
            told.add(answer.headers["x-request-id"])
            return answer.status_code, answer.json()["error"]["code"], answer.headers["x-should-retry"]

        await eventually(lambda: _refused(one, body), within_s=10, what="the change at the first gateway")
        await eventually(lambda: _refused(other, body), within_s=10, what="the change at the second gateway")
        answers = await asyncio.gather(*map(ask, range(120)))
    assert set(answers) == {(403, "model_disabled", "false")}
    await eventually(lambda: _rows(scene, 122), within_s=90, what="all rows")
    found = await scene.store.query(
        "SELECT outcome, error_code, count() AS n, uniqExact(request_id) AS ids, sum(cost_usd) AS cost, "
        "max(completion_tokens) AS tokens FROM v_requests GROUP BY ALL"
    )
    assert [tuple(row.values()) for row in found] == [("blocked", "model_disabled", 122, 122, Decimal(0), 0)]
    recorded = {row["request_id"] for row in await scene.store.query("SELECT request_id FROM v_requests")}
    assert len(told) == 120
    assert told < recorded
    ledger = await ledger_of(scene, "gateway-")
    assert (ledger["rows"], ledger["gaps"], ledger["doubles"]) == (122, 0, 0)
    assert ledger["sources"] > 2


async def _refused(client: httpx.AsyncClient, body: dict[str, Any]) -> bool:
    """Whether the gateway knows of the change; before, it finds no topic of the model."""
    return (await client.post("/v1/chat/completions", json=body)).status_code == 403


async def test_killed_producers_leave_no_false_gap_and_every_acknowledged_end(
    scene: Scene, tmp_path: Path
) -> None:
    """A process that sends ends over all partitions, many at once, is killed with -9 in
    the middle, three times: what it saw acknowledged is recorded once, and no number
    below another is missing.
    """
    scene.recorder.start()
    acknowledged: set[str] = set()
    for life in range(3):
        child = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "tests.support.bus.end_sender",
            scene.broker.bootstrap,
            f"mortal-{life}",
            stdout=asyncio.subprocess.PIPE,
        )
        assert child.stdout is not None
        async with asyncio.timeout(60):
            for _ in range(300 + 170 * life):
                acknowledged.add((await child.stdout.readline()).decode().strip())
        child.send_signal(signal.SIGKILL)
        rest = await child.stdout.read()
        acknowledged |= {line.decode() for line in rest.split(b"\n")[:-1]}
        await child.wait()
    await eventually(lambda: _rows(scene, len(acknowledged)), within_s=90, what="the acknowledged ends")
    await scene_settled(scene)
    rows = await scene.store.query(
        "SELECT request_id, count() AS n FROM inference_events GROUP BY request_id"
    )
    assert {row["n"] for row in rows} == {1}
    assert acknowledged <= {row["request_id"] for row in rows}
    ledger = await ledger_of(scene, "mortal-")
    assert (ledger["gaps"], ledger["doubles"]) == (0, 0)
    assert ledger["sources"] == 9  # three lives, three partitions


async def test_refused_ends_are_sent_again_by_another_incarnation_without_gaps(scene: Scene) -> None:
    """The driver loses its place on one partition (as after a broker that lost data):
    the broker refuses what comes next there and takes the rest; new sources begin, and
    every end is there once.
    """
    scene.recorder.start()
    producer = CountingProducer(scene.broker.bootstrap, "unlucky", timeout_s=30)
    await producer.start()
    try:
        for round_ in range(4):
            await asyncio.gather(
                *(producer.send(_record(round_ * 100 + number)) for number in range(60)),
            )
            _lose_place(producer)
        await asyncio.gather(*(producer.send(_record(900 + number)) for number in range(60)))
    finally:
        await producer.close()
    await eventually(lambda: _rows(scene, 300), within_s=90, what="all ends")
    ledger = await ledger_of(scene, "unlucky")
    assert (ledger["rows"], ledger["gaps"], ledger["doubles"]) == (300, 0, 0)
    assert ledger["sources"] > 3


async def test_end_while_kafka_is_away_arrives_later_once(scene: Scene) -> None:
    """Its sender is told that it is not acknowledged; the ledger still has no gap."""
    scene.recorder.start()
    producer = CountingProducer(scene.broker.bootstrap, "patient", timeout_s=2)
    await producer.start()
    try:
        await producer.send(_record(0))
        scene.broker.kill()
        with pytest.raises(BusUnavailableError):
            await producer.send(_record(1))
        scene.broker.restart()
        await eventually(lambda: _sent(producer, 2), within_s=60, what="the bus again")
    finally:
        await producer.close()
    await eventually(lambda: _rows(scene, 3), within_s=90, what="all ends")
    ledger = await ledger_of(scene, "patient")
    assert (ledger["rows"], ledger["gaps"], ledger["doubles"]) == (3, 0, 0)


async def _sent(producer: CountingProducer, number: int) -> bool:
    try:
        await producer.send(_record(number))
    except BusUnavailableError:
        return False
    return True


def _lose_place(producer: CountingProducer) -> None:
    """Makes the driver number its next batch of one partition with a hole, as it does
    after a failure; the other partitions go on.
    """
    assert producer._current is not None
    assert producer._current._driver is not None
    manager = producer._current._driver._txn_manager
    manager.increment_sequence_number(min(manager._sequence_numbers), 7)


def _record(number: int) -> Outgoing:
    event = completed(number, outcome=Outcome.BLOCKED)
    return Outgoing(COMPLETED.name, event, subject=event.request_id, tenant=event.tenant)


async def _rows(scene: Scene, count: int) -> bool:
    return bool((await scene.store.query("SELECT count() AS n FROM inference_events"))[0]["n"] >= count)


async def scene_settled(scene: Scene) -> None:
    """Waits until the recorder has caught up with the topic."""

    async def caught_up() -> bool:
        return sum((await lag(scene.broker.bootstrap, "recorder", [COMPLETED.name])).values()) == 0

    await eventually(caught_up, within_s=60, what="the recorder at the end")
