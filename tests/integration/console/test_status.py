"""/api/status against a real bus and store, and with either away."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import httpx
import pytest

from schemas.base import Running
from schemas.inference import Lane, QueueStatus, ReplicaBeat
from schemas.topics import STATUS_TOPIC
from services.common.bus import Outgoing, Producer
from services.common.store import Store
from tests.integration.console.conftest import Platform, StartConsole, bearer
from tests.support.analyzer.recording import fresh_database
from tests.support.store import RunningStore


async def say(platform: Platform, *said: ReplicaBeat | QueueStatus) -> None:
    """Publishes to the status topic."""
    producer = Producer(platform.kafka_url, "test-status")
    await producer.start()
    try:
        for one in said:
            await producer.send(Outgoing(STATUS_TOPIC.name, one, subject="x", tenant="", partition=0))
    finally:
        await producer.close()


async def status_once(
    client: httpx.AsyncClient,
    key: str,
    condition: Callable[[Any], bool],
    before: Callable[[], Awaitable[None]] | None = None,
) -> Any:
    """The status, once it is as it should be: on a busy machine a part may be told as
    timed out first. `before` is done before each query.
    """
    async with asyncio.timeout(60):
        while True:
            if before is not None:
                await before()
            told = (await client.get("/api/status", headers=bearer(key))).json()
            if condition(told):
                return told
            await asyncio.sleep(0.2)


def has_timed_out(told: Any) -> bool:
    """Whether a part took too long."""
    return any(part["state"] == "timed_out" for part in told["parts"].values())


async def test_status_tells_every_part(platform: Platform, client: httpx.AsyncClient) -> None:
    """Processes as they told of themselves; no tenant's request ids; no places unless to
    an administrator.
    """
    replica = f"replica-{uuid4().hex[:6]}"
    said = (
        ReplicaBeat(
            replica_id=replica,
            model=platform.model,
            host="node7",
            pid=4711,
            inbox=0,
            inbox_position=0,
            slots=4,
            running=(Running(request_id="chatcmpl-secret", attempt=1),),
        ),
        QueueStatus(
            dispatcher_id="d1",
            model=platform.model,
            host="node7",
            pid=4712,
            active=True,
            waiting={Lane.BATCH: 3},
            positions={"chatcmpl-secret": 1},
        ),
    )
    told = await status_once(
        client,
        platform.reader,
        lambda told: not has_timed_out(told) and replica in str(told),
        before=lambda: say(platform, *said),
    )
    assert told["state"] == "ok", told
    processes = told["parts"]["processes"]["data"]
    mine = next(one for one in processes["replicas"] if one["id"] == replica)
    assert (mine["model"], mine["slots"], mine["running"]) == (platform.model, 4, 1)
    dispatcher = next(one for one in processes["dispatchers"] if one["model"] == platform.model)
    assert dispatcher["waiting"] == {"batch": 3}
    assert "secret" not in str(told)
    assert "node7" not in str(told)
    told = await status_once(
        client,
        platform.admin,
        lambda told: not has_timed_out(told) and replica in str(told),
        before=lambda: say(platform, *said),
    )
    assert (
        next(one for one in told["parts"]["processes"]["data"]["replicas"] if one["id"] == replica)["pid"]
        == 4711
    )


async def test_ledger_shows_gaps_and_doubles_by_topic(
    platform: Platform, store: RunningStore, start_console: StartConsole
) -> None:
    """A producer's numbers 0, 2, 2: one is missing, one is there twice."""
    url = fresh_database(store)
    client = await start_console(clickhouse_url=url)
    recorded = Store(url)
    now = datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S")
    rows = ", ".join(
        f"('{now}', '{now}', 'topic-of-the-test', 'source', {sequence}, 0, {offset}, '')"
        for offset, sequence in enumerate((0, 2, 2))
    )
    await recorded.command(
        "INSERT INTO inference_events "
        "(completed_at, occurred_at, topic, source, sequence, partition, offset, tenant) "
        f"SETTINGS insert_deduplicate = 0 VALUES {rows}"
    )
    await recorded.close()
    told = await status_once(client, platform.reader, lambda told: not has_timed_out(told))
    ledger = {one["topic"]: one for one in told["parts"]["ledger"]["data"]}
    found = ledger["topic-of-the-test"]
    assert (found["events"], found["gaps"], found["doubles"]) == (3, 1, 1)


async def test_store_that_is_away_leaves_the_other_parts(
    platform: Platform, start_console: StartConsole
) -> None:
    """Never a 500, and no address in the answer."""
    client = await start_console(clickhouse_url="http://someone:secret@127.0.0.1:9/tocsin")
    told = await status_once(client, platform.admin, lambda told: not has_timed_out(told))
    parts = told["parts"]
    assert {name: part["state"] for name, part in parts.items()} == {
        "bus": "ok",
        "store": "unavailable",
        "processes": "ok",
        "services": "ok",
        "consumers": "ok",
        "ledger": "unavailable",
    }
    assert told["state"] == "degraded"
    assert "127.0.0.1:9" not in str(told)


async def test_services_health_is_asked_and_an_absent_one_is_away(
    platform: Platform, client: httpx.AsyncClient, start_console: StartConsole
) -> None:
    """By their /ready; one that does not answer does not keep the others from it."""
    there = f"http://127.0.0.1:{client.base_url.port}"
    asking = await start_console(health_urls=f"console={there}, gone=http://127.0.0.1:9")
    told = await status_once(asking, platform.reader, lambda told: not has_timed_out(told))
    services = told["parts"]["services"]["data"]
    assert services["console"] == {"state": "ready", "dependencies": {"control": "ok"}}
    assert services["gone"]["state"] == "away"


@pytest.mark.parametrize("path", ["/api/status", "/api/auth/session"])
async def test_reading_needs_a_good_key_with_the_scope(
    platform: Platform, client: httpx.AsyncClient, path: str
) -> None:
    """401 and 403 as problems, with an id."""
    for headers, status in (
        ({}, 401),
        (bearer("tsn_nonsense"), 401),
        ({"authorization": f"Basic {platform.reader}"}, 401),
        ({"cookie": "tocsin_session=1.x.y.z"}, 401),
        (bearer(platform.infer_only), 403),
    ):
        answer = await client.get(path, headers=headers)
        assert answer.status_code == status, headers
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.headers["x-request-id"]


async def test_operations_and_documentation_answer_without_a_key(client: httpx.AsyncClient) -> None:
    """Offline, and with every route in the document."""
    assert (await client.get("/health")).status_code == 200
    assert (await client.get("/ready")).json()["ready"]
    assert "tocsin_console_requests_total" in (await client.get("/metrics")).text
    page = (await client.get("/docs")).text
    assert "swagger-ui-bundle.js" in page
    assert "http" not in page.split("<body>")[1]
    paths = (await client.get("/openapi.json")).json()["paths"]
    assert {"/api/status", "/api/auth/session"} <= set(paths)
    assert (await client.get("/api/nothing")).json()["code"] == "not_found"


async def test_crowd_that_asks_at_once_is_answered(platform: Platform, client: httpx.AsyncClient) -> None:
    """Fifty dashboards share one look at everything."""
    answers = await asyncio.gather(
        *(client.get("/api/status", headers=bearer(platform.reader)) for _ in range(50))
    )
    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.json()["parts"]["consumers"]["checked_at"] for answer in answers}) == 1
