"""One real Apache Kafka for a whole test session.

Each test makes topics of its own in it.
"""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import pytest

from services.common.bus import Record, Start, Tail
from services.common.bus.consumers.consumer import written_ends
from services.embedded.kafka.broker import EmbeddedKafka
from tests.lifetimes import SERVERS, enter_for


class Broker(Protocol):
    """What a test may ask of the session's broker."""

    @property
    def bootstrap(self) -> str: ...

    def kill(self) -> None: ...

    def restart(self) -> None: ...


_FORMATTED = ("meta.properties", "bootstrap.checkpoint")
_formatted: dict[str, bytes] = {}
"""What the first broker's log was formatted as: it says nothing of ports, and making it
takes Java 1.6 s of the processor each time.
"""


_IMPATIENT = """
log.initial.task.delay.ms=500
log.retention.check.interval.ms=500
"""
"""Kafka looks for what it is to forget after 30 s for the first time, and ours every 15 s."""


class OwnBroker(EmbeddedKafka):
    """A broker of the tests' own, on a free port, as `tocsin up` starts it but for how
    often it looks for what it is to forget.
    """

    def command(self) -> list[str]:
        """What to run, with everything prepared for it."""
        command = super().command()
        with (self.directory / "server.properties").open("a") as properties:
            properties.write(_IMPATIENT)
        return command

    def start(self) -> None:
        """Starts it, the first time with the log that the first of this session had."""
        log = self.directory / "log"
        if _formatted and not self.password and not log.exists():
            log.mkdir(mode=0o700, parents=True)
            for name, content in _formatted.items():
                (log / name).write_bytes(content)
        super().start()
        if not _formatted and not self.password:
            _formatted.update({name: (log / name).read_bytes() for name in _FORMATTED})

    def restart(self) -> None:
        """Stops it cleanly if it runs, and starts it: same port, same data.

        Returns when it serves.
        """
        self.stop()
        self.start()


class GivenBroker:
    """A broker that somebody else runs (TOCSIN_TEST_KAFKA_URL): tests that would kill
    it are skipped.
    """

    def __init__(self, bootstrap: str) -> None:
        self.bootstrap = bootstrap

    def kill(self) -> None:
        """Skips the test."""
        pytest.skip("the broker of TOCSIN_TEST_KAFKA_URL is not ours to kill")

    def restart(self) -> None:
        """Skips the test."""
        pytest.skip("the broker of TOCSIN_TEST_KAFKA_URL is not ours to restart")


async def read_committed(url: str, topic: str) -> list[Record]:
    """All records of a topic, partition by partition in their order: what was committed
    just before too, which Kafka shows a moment later.
    """
    ends = await written_ends(Tail(url, "ends", topic=topic))
    tail = Tail(url, "look", committed_only=True, topic=topic)
    try:
        await tail.start(None, Start.BEGINNING)
        return [one async for batch in tail.read_to_end(ends, poll_s=0.05) for one in batch]
    finally:
        await tail.close()


@pytest.fixture(scope="session")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Broker:
    """The running broker.

    Kill or restart it only in a test that starts it again: others share it.
    """
    if given := os.environ.get("TOCSIN_TEST_KAFKA_URL"):
        return GivenBroker(given)
    return enter_for(SERVERS, _running(OwnBroker(Path(tmp_path_factory.mktemp("kafka")))))


@contextlib.contextmanager
def _running(broker: OwnBroker) -> Iterator[OwnBroker]:
    broker.start()
    yield broker
    broker.stop()
