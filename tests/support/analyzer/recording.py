"""What tests of the recorder share: events to record, a producer of them, a recorder as
a process of its own.
"""

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from uuid import uuid4

from schemas.base import Message
from schemas.envelope import Headers
from schemas.inference import InferenceCompleted, Lane, Outcome
from schemas.topics import COMPLETED, dead_letter_name
from services.common.bus import Outgoing, Producer, Tail, TopicPartition, TransactionalProducer
from services.common.bus.administration.admin import provision
from services.common.bus.consumers.events import send_all
from services.common.errors import TransientError
from services.common.store import Store
from services.common.store.migrations import migrate
from tests.support.store import RunningStore

EPOCH = datetime.now(UTC).replace(minute=0, second=0, microsecond=0) - timedelta(hours=2)
"""When the first event ends.

Of today, since tables delete what is old by their own clock.
"""
TOPIC = COMPLETED.name


def completed(number: int = 0, **changes: object) -> InferenceCompleted:
    """The end of request `number`; its figures follow from the number."""
    at = EPOCH + timedelta(milliseconds=number)
    values: dict[str, object] = {
        "request_id": f"request-{number:08}",
        "tenant": f"tenant-{number % 3}",
        "key_id": "key00001",
        "user": f"user-{number % 7}",
        "model": f"model-{number % 2}",
        "kind": "chat",
        "lane": Lane.INTERACTIVE,
        "stream": True,
        "outcome": Outcome.FAILED if number % 50 == 49 else Outcome.COMPLETED,
        "finish_reasons": ("stop",),
        "attempts": 1 + (number % 20 == 0),
        "replica_id": "replica-1",
        "prompt_tokens": 10 + number % 5,
        "completion_tokens": 20 + number % 9,
        "cost_usd": Decimal(number % 11) / 1_000_000,
        "requested_at": at - timedelta(milliseconds=40),
        "completed_at": at,
        "duration_ms": 40.0 + number % 13,
        "ttft_ms": 5.0 + number % 3,
        "prompt_chars": 40,
        "response_chars": 80,
    }
    return InferenceCompleted(**(values | changes))  # type: ignore[arg-type]


class Unreadable(Message):
    """What no consumer of inference.completed can use."""

    nonsense: str = "x"


@dataclass
class CountingProducer(Producer):
    """An idempotent producer that counts its events as a transactional one does.

    Without transactions it outlives any broker.
    """

    _next: int = 0

    def _headers(self, record: Outgoing) -> Headers:
        self._next += 1
        return self._envelope(record, self._next - 1).to_headers()


class EventSource:
    """Sends counted events: as the dispatcher does in transactions, whose markers leave
    holes in the offsets, or without.
    """

    def __init__(self, url: str, *, transactions: bool = True) -> None:
        name = f"test-{uuid4().hex[:8]}"
        self._transactional = (
            TransactionalProducer(url, name, timeout_s=60, transactional_id=name) if transactions else None
        )
        self._producer = self._transactional or CountingProducer(url, name, timeout_s=60)
        self._reader = Tail(url, f"{name}-reader", committed_only=True, topic=TOPIC)
        self.sent = 0

    @property
    def source(self) -> str:
        """The name of this incarnation in the envelopes."""
        return self._producer.source

    async def start(self) -> None:
        """Connects."""
        await self._producer.start()
        await self._reader.start([], {})

    async def send(
        self, count: int, *, batch: int = 100, invalid: Callable[[int], bool] = lambda _: False
    ) -> None:
        """Sends the next `count` events; those whose number is `invalid` are
        unreadable. Returns when whoever reads what is committed can see them all: Kafka
        ends a transaction in its partitions a moment after it has confirmed the commit.
        """
        end, last = self.sent + count, {}
        while self.sent < end:
            numbers = range(self.sent, min(end, self.sent + batch))
            records = [
                Outgoing(
                    TOPIC,
                    Unreadable() if invalid(one) else completed(one),
                    subject=f"request-{one:08}",
                    tenant=f"tenant-{one % 3}",
                )
                for one in numbers
            ]
            if self._transactional is None:
                await send_all(self._producer, records, 60)
            else:
                async with self._transactional.transaction("test-source", {}):
                    sent = [await self._transactional.send_soon(one) for one in records]
                    for told in await asyncio.gather(*sent):
                        last[TopicPartition(told.topic, told.partition)] = told.offset
            self.sent = numbers.stop
        await eventually(lambda: self._shows(last), within_s=60, what="what was sent can be read")

    async def _shows(self, offsets: Mapping[TopicPartition, int]) -> bool:
        ends = await self._reader.ends_of(offsets)
        return all(ends[place] > offset for place, offset in offsets.items())

    def forget(self) -> None:
        """Counts an event that is never sent: a loss."""
        assert self._transactional is not None
        self._transactional._sequences[TOPIC] += 1

    async def close(self) -> None:
        """Disconnects."""
        await self._reader.close()
        await self._producer.close()


class RecorderProcess:
    """The analyzer as a child process, to be killed."""

    def __init__(self, kafka_url: str, store_url: str, log: Path, **environment: str) -> None:
        self._environment = os.environ | {
            "TOCSIN_KAFKA_URL": kafka_url,
            "TOCSIN_CLICKHOUSE_URL": store_url,
            "TOCSIN_ANALYZER_ROLES": "recorder,audit",
            "TOCSIN_RECORDER_SESSION_TIMEOUT_S": "3",
            "TOCSIN_RECORDER_LINGER_MS": "100",
            "TOCSIN_LOG_LEVEL": "debug",  # tests count the partitions that it takes
            "PYTHONPATH": str(Path(__file__).resolve().parents[3]),
            **environment,
        }
        self._log = log
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Starts it."""
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "services.analyzer"], env=self._environment, stdout=log, stderr=log
            )

    @property
    def pid(self) -> int:
        """The process that runs now."""
        assert self._process is not None
        return self._process.pid

    def kill(self) -> None:
        """Kill -9."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(10)

    def pause(self) -> None:
        """Lets it do nothing, and know nothing of it."""
        os.kill(self.pid, signal.SIGSTOP)

    def go_on(self) -> None:
        """Lets it take up where it was."""
        os.kill(self.pid, signal.SIGCONT)

    def terminate(self, timeout_s: float = 30.0) -> int:
        """SIGTERM; its exit code."""
        assert self._process is not None
        self._process.terminate()
        return self._process.wait(timeout_s)

    def wait(self, timeout_s: float = 30.0) -> int:
        """Its exit code, once it ends by itself."""
        assert self._process is not None
        return self._process.wait(timeout_s)

    @property
    def output(self) -> str:
        """What it logged so far."""
        return self._log.read_text(errors="replace")


async def provision_topics(kafka_url: str, scale: float = 0.25) -> None:
    """The fixed topics."""
    await provision(kafka_url, [], scale)


async def eventually(condition: Callable[[], Awaitable[bool]], *, within_s: float, what: str) -> None:
    """Waits until a condition holds, forgiving a store that is away."""
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        try:
            if await condition():
                return
        except TransientError:
            pass
        await asyncio.sleep(0.05)
    raise AssertionError(f"not within {within_s} s: {what}")


async def recorded(store: Store) -> int:
    """How many rows inference_events has."""
    return int((await store.query("SELECT count() AS n FROM inference_events"))[0]["n"])


async def rollups_disagree(store: Store) -> list[dict[str, object]]:
    """The hours for which a rollup does not say what the table says."""
    return await store.query("SELECT * FROM v_rollups WHERE in_table != in_rollup")


async def ledger(store: Store, source: str) -> dict[str, object]:
    """What the ledger says of one producer."""
    rows = await store.query("SELECT * FROM v_ledger WHERE source = {source:String}", {"source": source})
    return rows[0] if rows else {}


DLQ = dead_letter_name(TOPIC)


_TEMPLATE = "test_template"
# Tables, what fills them, then views; those on views after those on tables.
_STATEMENTS = f"""
SELECT create_table_query FROM system.tables WHERE database = '{_TEMPLATE}'
ORDER BY
    (engine LIKE '%View') + (engine = 'View') + match(create_table_query, '(FROM|JOIN) {_TEMPLATE}.v_'), name
"""


def fresh_database(store: RunningStore) -> str:
    """A migrated database of a test's own; its address, for the administrator: the
    service may enter no other than tocsin.

    A store's first is migrated; the others are copies of its tables and views, without
    the steps that the migrations took to them.
    """
    url = store.url("admin", name := f"test_{uuid4().hex[:12]}")
    with contextlib.closing(store.admin_client()) as client:
        if not client.query(f"EXISTS DATABASE {_TEMPLATE}").first_row[0]:
            migrate(store.url("admin", _TEMPLATE))
        client.command(f"CREATE DATABASE {name} ENGINE = Atomic")
        wanted = [row[0] for row in client.query(_STATEMENTS).result_rows]
        for sql in wanted:
            client.command(sql.replace(f"{_TEMPLATE}.", f"{name}."))
        client.command(f"INSERT INTO {name}.schema_versions SELECT * FROM {_TEMPLATE}.schema_versions")
    return url
