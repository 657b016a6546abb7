"""The analyzer's wiring: what talks to what. Its one role so far is the recorder."""

from services.analyzer.recorder.interfaces import DependencyRetry, StoreTables
from services.analyzer.recorder.recorder import Batching, Recorder
from services.analyzer.recorder.tables import RECORDINGS
from services.analyzer.recorder.tables.dead_letters import DEAD_LETTERED
from services.analyzer.recorder.writer import Writer
from services.analyzer.settings import Settings
from services.common.bus import Producer
from services.common.bus.events import EventConsumer
from services.common.dead_letter import DeadLetters, InvalidShare
from services.common.health import HealthState
from services.common.store import Store


class App:
    """An analyzer, as `services.common.runner` runs it."""

    def __init__(self, settings: Settings) -> None:
        self.health = HealthState()
        self._producer = Producer(settings.kafka_url, f"recorder-{settings.instance}")
        self._events = EventConsumer(
            settings.kafka_url,
            f"recorder-{settings.instance}",
            settings.recorder_group,
            session_timeout_s=settings.recorder_session_timeout_s,
        )
        self._store = Store(
            settings.clickhouse_url, name="tocsin-recorder", timeout_s=settings.store_timeout_s
        )
        tables, dependency_retry = StoreTables(self._store), DependencyRetry(self._events, self.health)
        writer = Writer(
            events=self._events,
            tables=tables,
            aside=DeadLetters(self._producer, "recorder"),
            dependency_retry=dependency_retry,
            invalid=_share(settings),
            refused=_share(settings),
            final=frozenset(name for name, recording in RECORDINGS.items() if recording is DEAD_LETTERED),
        )
        self._recorder = Recorder(
            events=self._events,
            tables=tables,
            writer=writer,
            dependency_retry=dependency_retry,
            recordings=RECORDINGS,
            health=self.health,
            batching=Batching(
                settings.recorder_batch_rows,
                settings.recorder_batch_bytes,
                settings.recorder_linger_ms / 1000,
            ),
        )

    async def start(self) -> None:
        """Connects to Kafka and joins the group.

        The store is waited for later, with every partition's place kept.
        """
        await self._producer.start()
        await self._recorder.start()

    async def run(self) -> None:
        """Records until told to stop."""
        await self._recorder.run()

    async def drain(self) -> None:
        """Records what was taken, and takes no more."""
        await self._recorder.drain()

    async def close(self) -> None:
        """Lets go of everything."""
        await self._events.close()
        await self._producer.close()
        await self._store.close()


def _share(settings: Settings) -> InvalidShare:
    return InvalidShare(
        settings.recorder_invalid_share, settings.recorder_invalid_window, settings.recorder_invalid_minimum
    )
