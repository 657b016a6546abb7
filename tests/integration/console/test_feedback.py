"""Ratings, from the request to the share of good ones, on a real bus and store."""

import asyncio
import secrets
import time
from datetime import UTC, datetime, timedelta

import httpx
import pytest

from schemas.events.feedback import FeedbackSubmitted
from schemas.inference import InferenceRequested, Lane, ReplyTo
from schemas.topics import FEEDBACK, requests_topic
from services.common.bus import Outgoing, Producer, Start, Tail
from services.common.requests.request_ids import new_request_id
from services.common.store import Store
from tests.integration.console.conftest import Platform, StartConsole, bearer


def request_id(age: timedelta = timedelta(0)) -> str:
    """The id of a request that was made so long ago."""
    made_at_ms = int((time.time() - age.total_seconds()) * 1000)
    return new_request_id("chat", time_ms=made_at_ms, random_bits=secrets.randbits(74))


async def record(
    platform: Platform, rated: str, *, tenant: str = "acme", age: timedelta = timedelta(0)
) -> None:
    """Has the store know a request's end, as the recorder would."""
    at = (datetime.now(UTC) - age).strftime("%Y-%m-%d %H:%M:%S")
    store = Store(platform.store_url)
    await store.command(
        "INSERT INTO inference_events (request_id, tenant, model, requested_at, completed_at) "
        f"VALUES ('{rated}', 'acme', '{platform.model}', '{at}', '{at}')"
    )
    await store.close()


async def publish_request(platform: Platform, rated: str, tenant: str) -> None:
    """Has the log know a request that has not ended."""
    now = datetime.now(UTC)
    request = InferenceRequested(
        request_id=rated,
        kind="chat",
        model=platform.model,
        lane=Lane.INTERACTIVE,
        tenant=tenant,
        key_id="abcd1234",
        reply_to=ReplyTo(partition=0, gateway_id="g"),
        requested_at=now,
        deadline=now + timedelta(minutes=5),
    )
    topic = requests_topic(platform.model, Lane.INTERACTIVE)
    await _send(platform, Outgoing(topic, request, subject=rated, tenant=tenant, partition=0))


async def _send(platform: Platform, record: Outgoing) -> None:
    producer = Producer(platform.kafka_url, "test-feedback")
    await producer.start()
    await producer.send(record)
    await producer.close()


async def submitted(platform: Platform, rated: str) -> list[tuple[FeedbackSubmitted, dict[str, bytes]]]:
    """What the bus has of a request's ratings, with headers."""
    tail = Tail(platform.kafka_url, "test-feedback", topic=FEEDBACK.name)
    found = []
    try:
        await tail.start(None, Start.BEGINNING)
        partitions = range(await tail.partitions(FEEDBACK.name))
        ends = await tail.end_offsets(FEEDBACK.name, list(partitions))
        async for records in tail.read_to_end(ends):
            found += [
                (FeedbackSubmitted.model_validate_json(one.value or b""), dict(one.headers))
                for one in records
                if one.key == rated.encode()
            ]
    finally:
        await tail.close()
    return found


@pytest.mark.parametrize("age", [timedelta(0), timedelta(hours=3), timedelta(days=90)])
async def test_rating_of_a_recorded_request_is_taken(
    platform: Platform, client: httpx.AsyncClient, age: timedelta
) -> None:
    """However long ago it was; with what the store says of the request, counted."""
    rated = request_id(age)
    await record(platform, rated, age=age)
    answer = await client.post(
        "/v1/feedback",
        headers=bearer(platform.reader),
        json={"request_id": rated, "rating": -1, "comment": "no", "correction": "yes", "user": "ann"},
    )
    assert answer.status_code == 201, answer.text
    [(event, headers)] = await submitted(platform, rated)
    assert answer.json() == {
        "id": event.feedback_id,
        "object": "feedback",
        "request_id": rated,
        "rating": -1,
    }
    assert (event.tenant, event.model, event.comment, event.correction) == (
        "acme",
        platform.model,
        "no",
        "yes",
    )
    assert event.user
    assert "ann" not in event.user
    assert int(headers["ce_sequence"]) >= 0


async def test_rating_of_a_request_under_way_is_taken_by_the_log(
    platform: Platform, client: httpx.AsyncClient, start_console: StartConsole
) -> None:
    """It has no row yet; nor does the store's absence matter then."""
    rated = request_id()
    await publish_request(platform, rated, "acme")
    body = {"request_id": rated, "rating": 1}
    assert (await client.post("/v1/feedback", headers=bearer(platform.reader), json=body)).status_code == 201
    without = await start_console(clickhouse_url="http://x:y@127.0.0.1:9/tocsin")
    assert (await without.post("/v1/feedback", headers=bearer(platform.reader), json=body)).status_code == 201
    assert len(await submitted(platform, rated)) == 2


async def test_unknown_and_foreign_requests_are_the_same_404(
    platform: Platform, client: httpx.AsyncClient
) -> None:
    """Recorded or under way: a stranger does not learn that they exist."""
    recorded, running = request_id(), request_id()
    await record(platform, recorded)
    await publish_request(platform, running, "acme")
    seen = set()
    for rated in (recorded, running, request_id(), request_id(timedelta(days=2))):
        answer = await client.post(
            "/v1/feedback", headers=bearer(platform.stranger), json={"request_id": rated, "rating": 1}
        )
        assert answer.status_code == 404
        assert await submitted(platform, rated) == []
        seen.add(answer.text)
    assert len(seen) == 1
    assert "request_not_found" in seen.pop()


@pytest.mark.parametrize(
    "rated",
    ["", "x", "chatcmpl-" + "f" * 32, "chatcmpl-ffffffffffff7" + "0" * 3 + "8" + "0" * 15, "' OR 1=1 --"],
)
async def test_id_that_no_request_can_have_is_404(
    platform: Platform, client: httpx.AsyncClient, rated: str
) -> None:
    """Also one of an impossible time, and one that would be SQL."""
    answer = await client.post(
        "/v1/feedback", headers=bearer(platform.reader), json={"request_id": rated, "rating": 1}
    )
    assert answer.status_code == 404


async def test_old_request_while_the_store_is_away_is_503(
    platform: Platform, start_console: StartConsole
) -> None:
    """It cannot be told whose it is: nothing is taken, nothing is denied."""
    client = await start_console(clickhouse_url="http://x:y@127.0.0.1:9/tocsin")
    body = {"request_id": request_id(timedelta(days=2)), "rating": 1}
    answer = await client.post("/v1/feedback", headers=bearer(platform.reader), json=body)
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "store_unavailable")
    assert answer.headers["retry-after"]
    quality = await client.get("/api/quality/satisfaction", headers=bearer(platform.reader))
    assert (quality.status_code, quality.json()["code"]) == (503, "store_unavailable")


@pytest.mark.parametrize(
    "change",
    [{"rating": 0}, {"rating": 5}, {"rating": None}, {"comment": "x" * 4001}, {"correction": "x" * 100_001}],
)
async def test_rating_that_is_none_is_400(
    platform: Platform, client: httpx.AsyncClient, change: dict[str, object]
) -> None:
    """In the form of the OpenAI API, naming the field."""
    answer = await client.post(
        "/v1/feedback",
        headers=bearer(platform.reader),
        json={"request_id": request_id(), "rating": 1} | change,
    )
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] in change


async def test_satisfaction_counts_the_last_rating_of_each_user_and_the_own_tenants_only(
    platform: Platform, client: httpx.AsyncClient
) -> None:
    """In the window, in all and by model, with Wilson's interval; another tenant sees
    its own only.
    """
    store, now = Store(platform.store_url), datetime.now(UTC)

    def row(tenant: str, model: str, rated: str, user: str, rating: int, minutes_ago: float) -> str:  # noqa: PLR0917
        at = (now - timedelta(minutes=minutes_ago)).strftime("%Y-%m-%d %H:%M:%S.%f")[:-3]
        return f"('{at}', '{tenant}', '{model}', '{rated}', '{user}', {rating})"

    await store.command("TRUNCATE TABLE feedback")
    await store.command(
        "INSERT INTO feedback (submitted_at, tenant, model, request_id, user, rating) VALUES "
        + ", ".join(
            (
                row("acme", "a", "r1", "u", -1, 30),
                row("acme", "a", "r1", "u", 1, 20),  # changed their mind
                row("acme", "a", "r1", "v", -1, 20),
                row("acme", "b", "r2", "u", 1, 10),
                row("acme", "b", "r3", "u", 1, 60 * 5),
                row("globex", "a", "r4", "u", -1, 10),
            )
        )
    )
    await store.close()
    ask = "/api/quality/satisfaction?window_hours="
    told = (await client.get(ask + "1", headers=bearer(platform.reader))).json()
    assert (told["total"]["ratings"], told["total"]["positive"]) == (3, 2)
    assert told["total"]["satisfaction"] == pytest.approx(2 / 3)
    assert told["total"]["interval_95"] == pytest.approx({"low": 0.2077, "high": 0.9385}, abs=1e-4)
    assert [(one["model"], one["ratings"], one["positive"]) for one in told["by_model"]] == [
        ("a", 2, 1),
        ("b", 1, 1),
    ]
    assert (await client.get(ask + "24", headers=bearer(platform.reader))).json()["total"]["ratings"] == 4
    told = (await client.get(ask + "24", headers=bearer(platform.stranger))).json()
    assert (told["total"]["ratings"], told["total"]["positive"]) == (1, 0)


@pytest.mark.parametrize("hours", ["0", "-1", "x", "1e9", "999999"])
async def test_window_that_is_none_is_400(platform: Platform, client: httpx.AsyncClient, hours: str) -> None:
    """As a problem that names it."""
    answer = await client.get(
        f"/api/quality/satisfaction?window_hours={hours}", headers=bearer(platform.reader)
    )
    assert (answer.status_code, answer.json()["param"]) == (400, "window_hours")


async def test_many_ratings_of_unknown_requests_share_the_logs_scans(
    platform: Platform, client: httpx.AsyncClient
) -> None:
    """Guessing ids costs a scan or two, not one each."""
    answers = await asyncio.gather(
        *(
            client.post(
                "/v1/feedback",
                headers=bearer(platform.reader),
                json={"request_id": request_id(), "rating": 1},
            )
            for _ in range(30)
        )
    )
    assert {answer.status_code for answer in answers} == {404}
