"""Makes Java's ahead-of-time cache for Kafka: its classes loaded and linked, and the
profile of a little traffic, so that the broker starts in half the time.

    python -m services.embedded.kafka.aot_cache

runs a throw-away broker on a temporary folder at the lowest priority and puts the image
beside the jars. `tocsin up` has it run in the background once all is ready. Nothing
depends on it: without the image, or with one that this Java can't use, Kafka only
starts more slowly (2.3 s for 1.1 s).
"""

import asyncio
import fcntl
import logging
import os
import secrets
import sys
import tempfile
import uuid
from pathlib import Path

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from services.common.errors import TocsinError
from services.common.process.kafka_address import connection_options
from services.embedded.kafka.broker import EmbeddedKafka, find_distribution

_TRAFFIC_TIMEOUT_S = 60.0
_STOP_TIMEOUT_S = 120.0  # Java writes the image as it ends: 5 s on an idle core
_RECORDS = 2_000


class _Recorded(EmbeddedKafka):
    """A broker that Java watches, to write the image when it ends."""

    def __init__(self, directory: Path, image: Path) -> None:
        super().__init__(
            directory, password=secrets.token_urlsafe(32)
        )  # so that the login is in the image too
        self._image = image

    def command(self) -> list[str]:
        java, *rest = super().command()
        return [java, f"-XX:AOTCacheOutput={self._image}", *rest]


def make_image() -> Path | None:
    """The image's path, made now if it was missing; none where Kafka is not ours
    (`KAFKA_HOME`) or another process is making it.

    Raises:
        TocsinError: the throw-away broker did not start, or Java wrote no image.
    """
    target = find_distribution().aot
    if target is None or target.exists():
        return target
    with (target.parent / "aot.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return None
        with tempfile.TemporaryDirectory(prefix="aot-", dir=target.parent) as folder:
            image = Path(folder) / target.name
            broker = _Recorded(Path(folder) / "kafka", image)
            broker.start(timeout_s=120)
            try:
                asyncio.run(asyncio.wait_for(_make_traffic(broker.url), _TRAFFIC_TIMEOUT_S))
            finally:
                broker.stop(_STOP_TIMEOUT_S)
            if not image.exists():
                raise TocsinError(
                    "Java wrote no image: "
                    f"{(broker.directory / 'kafka.out').read_text(encoding='utf-8')[-1000:]}"
                )
            image.replace(target)
    return target


async def _make_traffic(url: str) -> None:
    """What Tocsin does with a broker: topics, single records, transactions with
    offsets, a consumer group.
    """
    topic = f"aot-{uuid.uuid4().hex}"
    admin = AIOKafkaAdminClient(**connection_options(url))
    await admin.start()
    await admin.create_topics([NewTopic(topic, 2, 1)])
    producer = AIOKafkaProducer(**connection_options(url), acks="all", transactional_id=topic)
    consumer = AIOKafkaConsumer(
        topic,
        **connection_options(url),
        group_id=topic,
        auto_offset_reset="earliest",
        isolation_level="read_committed",
    )
    await producer.start()
    await consumer.start()
    try:
        for begin in range(0, _RECORDS, 20):
            async with producer.transaction():
                for number in range(begin, begin + 20):
                    await producer.send_and_wait(topic, b"x" * 300, key=str(number).encode())
        read = 0
        while read < _RECORDS:
            read += sum(map(len, (await consumer.getmany(timeout_ms=1000)).values()))
            await consumer.commit()
    finally:
        await consumer.stop()
        await producer.stop()
        await admin.close()


def main() -> None:
    """Makes the image at the lowest priority."""
    os.nice(19)
    logging.getLogger("aiokafka").setLevel(
        logging.CRITICAL
    )  # a new broker's first group is always refused a few times
    try:
        make_image()
    except TocsinError as error:
        sys.exit(f"Kafka starts without its ahead-of-time cache: {error}")


if __name__ == "__main__":
    main()
