"""One real Apache Kafka for a whole test session.

Each test makes topics of its own in it.
"""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import pytest

from services.embedded.kafka.broker import EmbeddedKafka


class Broker(Protocol):
    """What a test may ask of the session's broker."""

    @property
    def bootstrap(self) -> str: ...

    def kill(self) -> None: ...

    def restart(self) -> None: ...


class OwnBroker(EmbeddedKafka):
    """A broker of the tests' own, on a free port."""

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


@pytest.fixture(scope="session")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    """The running broker.

    Kill or restart it only in a test that starts it again: others share it.
    """
    if given := os.environ.get("TOCSIN_TEST_KAFKA_URL"):
        yield GivenBroker(given)
        return
    broker = OwnBroker(Path(tmp_path_factory.mktemp("kafka")))
    broker.start()
    yield broker
    broker.stop()
