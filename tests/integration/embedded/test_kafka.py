"""The embedded broker: real Apache Kafka, real sockets, real kills."""

import asyncio
import os
import signal
import subprocess
import sys
import time
import uuid
from pathlib import Path

import psutil
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import KafkaError

from services.common.errors import ConfigError
from services.common.process.kafka_address import connection_options
from services.embedded.installation.ports import free_port
from services.embedded.kafka import jars as kafka_jars
from services.embedded.kafka.aot_cache import make_image
from services.embedded.kafka.broker import EmbeddedKafka, find_distribution, kafka_url, serves
from tests.support.kafka import Broker, OwnBroker


async def make_topic(bootstrap: str, **configuration: str) -> str:
    """A topic of one partition with a name of its own."""
    name = f"test-{uuid.uuid4().hex}"
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    try:
        await admin.create_topics([NewTopic(name, 1, 1, topic_configs=configuration)])
    finally:
        await admin.close()
    return name


async def read_all(bootstrap: str, topic: str) -> list[bytes]:
    """Every record of the topic's only partition."""
    consumer = AIOKafkaConsumer(
        **connection_options(bootstrap), enable_auto_commit=False, auto_offset_reset="earliest"
    )
    await consumer.start()
    try:
        partition = TopicPartition(topic, 0)
        consumer.assign([partition])
        end = (await consumer.end_offsets([partition]))[partition]
        records: list[bytes] = []
        while await consumer.position(partition) < end:
            batches = await consumer.getmany(timeout_ms=1000)
            records += [record.value for batch in batches.values() for record in batch]
        return records
    finally:
        await consumer.stop()


async def test_broker_gives_back_what_was_produced(kafka: Broker) -> None:
    """A record written to the session's broker is read from it."""
    topic = await make_topic(kafka.bootstrap)
    producer = AIOKafkaProducer(bootstrap_servers=kafka.bootstrap, acks="all", enable_idempotence=True)
    await producer.start()
    try:
        await producer.send_and_wait(topic, b"hello")
    finally:
        await producer.stop()
    assert await read_all(kafka.bootstrap, topic) == [b"hello"]


async def test_broker_with_an_idle_short_lived_topic_forgets_what_is_older(kafka: Broker) -> None:
    """Retention holds for a topic that nobody writes to any more: a receipt of erasure
    relies on it.
    """
    topic = await make_topic(kafka.bootstrap, **{"retention.ms": "500", "segment.ms": "100"})
    producer = AIOKafkaProducer(bootstrap_servers=kafka.bootstrap, acks="all")
    consumer = AIOKafkaConsumer(bootstrap_servers=kafka.bootstrap)
    await producer.start()
    await consumer.start()
    try:
        await producer.send_and_wait(topic, b"private")
        partition = TopicPartition(topic, 0)
        async with asyncio.timeout(90):
            while (await consumer.beginning_offsets([partition]))[partition] < 1:  # noqa: ASYNC110 (the condition lies in the broker)
                await asyncio.sleep(0.2)
    finally:
        await consumer.stop()
        await producer.stop()
    assert await read_all(kafka.bootstrap, topic) == []


async def test_broker_killed_under_an_idempotent_producer_loses_and_doubles_nothing(kafka: Broker) -> None:
    """What was sent before, during and after a kill -9 is there once each, in order;
    clients find the broker where it was.
    """
    topic, before = await make_topic(kafka.bootstrap), kafka.bootstrap
    producer = AIOKafkaProducer(
        bootstrap_servers=kafka.bootstrap, acks="all", enable_idempotence=True, request_timeout_ms=60_000
    )
    await producer.start()
    restarted = False
    try:
        acknowledged = []
        for number in range(200):
            if number == 100:
                kafka.kill()
                restart = asyncio.create_task(asyncio.to_thread(kafka.restart))
            acknowledged.append(await producer.send(topic, str(number).encode()))
            if number == 110:
                await restart
                restarted = True
        async with asyncio.timeout(60):
            await asyncio.gather(*acknowledged)
    finally:
        await producer.stop()
    assert restarted
    assert kafka.bootstrap == before
    assert await read_all(kafka.bootstrap, topic) == [str(number).encode() for number in range(200)]


def test_broker_listens_on_loopback_only(kafka: Broker, tmp_path: Path) -> None:
    """Nobody on the network reaches it."""
    if not isinstance(kafka, EmbeddedKafka):
        pytest.skip("TOCSIN_TEST_KAFKA_URL names somebody else's broker")
    listening = [
        one.laddr.ip
        for one in psutil.Process(kafka.pid).net_connections("tcp")
        if one.status == psutil.CONN_LISTEN
    ]
    assert len(listening) == 2
    assert {address.removeprefix("::ffff:") for address in listening} == {"127.0.0.1"}


def start_alone(folder: Path, port: int) -> "subprocess.Popen[bytes]":
    """The broker as the supervisor starts it; returns when it serves."""
    command = [
        sys.executable,
        "-m",
        "services.embedded.kafka.broker",
        "--dir",
        str(folder),
        "--port",
        str(port),
        "--controller-port",
        str(free_port(taken={port})),
    ]
    with (folder.parent / "out").open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output)
    deadline = time.monotonic() + 60
    while not serves(port):
        assert process.poll() is None, (folder.parent / "out").read_text()
        assert time.monotonic() < deadline
        time.sleep(0.1)
    return process


def test_kafka_program_when_ended_leaves_no_process(tmp_path: Path) -> None:
    """The program is the broker itself, so that a signal to one ends the other."""
    process = start_alone(tmp_path / "kafka", free_port())
    assert "kafka.Kafka" in psutil.Process(process.pid).cmdline()
    assert psutil.Process(process.pid).children() == []
    os.kill(process.pid, signal.SIGTERM)
    assert process.wait(30) == 128 + signal.SIGTERM


def test_kafka_with_kafka_home_runs_that_distribution(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An unpacked distribution serves where Maven Central can't be reached: its own
    jars are on the class path, and no others.
    """
    libs = tmp_path / "distribution" / "libs"
    libs.mkdir(parents=True)
    for jar in kafka_jars.ensure_jars():
        (libs / jar.name).symlink_to(jar)
    monkeypatch.setenv("KAFKA_HOME", str(libs.parent))
    broker = OwnBroker(tmp_path / "kafka")
    broker.start()
    try:
        assert str(libs / "kafka-clients-4.3.1.jar") in " ".join(psutil.Process(broker.pid).cmdline())
        assert serves(broker.port)
    finally:
        broker.stop()


def test_kafka_home_without_kafka_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The message says what the setting should name."""
    monkeypatch.setenv("KAFKA_HOME", str(tmp_path))
    with pytest.raises(ConfigError, match="unpacked Apache Kafka distribution"):
        find_distribution()


def test_kafka_program_without_a_network_exits_as_for_a_wrong_setting(tmp_path: Path) -> None:
    """On a new machine with no way to Maven Central it ends with both ways out, and the
    supervisor does not try again.
    """
    (tmp_path / "jgo.conf").write_text("[repositories]\ncentral = http://127.0.0.1:1/\n")
    environment = {
        **os.environ,
        "XDG_CACHE_HOME": str(tmp_path),
        "JGO_CONFIG_FILE": str(tmp_path / "jgo.conf"),
        "M2_REPO": str(tmp_path / "m2"),
    }
    environment.pop("KAFKA_HOME", None)
    command = [
        sys.executable,
        "-m",
        "services.embedded.kafka.broker",
        "--dir",
        str(tmp_path / "kafka"),
        "--port",
        "1",
        "--controller-port",
        "2",
    ]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 2
    assert done.stderr.count("TOCSIN_KAFKA_URL=host:port") == done.stderr.count("KAFKA_HOME=/path") == 1
    assert "Traceback" not in done.stderr


def test_make_image_with_a_foreign_distribution_makes_none(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The image belongs to the locked jars; beside somebody's own distribution nothing
    is written.
    """
    (tmp_path / "libs").mkdir()
    (tmp_path / "libs" / "kafka_2.13-4.0.0.jar").touch()
    monkeypatch.setenv("KAFKA_HOME", str(tmp_path))
    assert make_image() is None


def test_broker_with_a_spoilt_image_starts_without_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The ahead-of-time cache may be anything: Kafka starts all the same."""
    jars = kafka_jars.ensure_jars()
    cache = tmp_path / "tocsin" / jars[0].parents[1].name
    cache.mkdir(parents=True)
    (cache / "jars").symlink_to(jars[0].parent)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    image = find_distribution().aot
    assert image is not None
    image.write_bytes(b"no image" * 1000)
    broker = OwnBroker(tmp_path / "kafka")
    broker.start()
    broker.stop()


async def refused(url: str) -> bool:
    """Whether a client of this address is let in to nothing."""
    consumer = AIOKafkaConsumer(**connection_options(url))
    try:
        await asyncio.wait_for(consumer.start(), 20)
    except KafkaError:
        return True
    finally:
        await consumer.stop()
    return False


async def test_broker_with_a_password_lets_in_who_has_it_and_nobody_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither the clients' port nor the controller's, in a folder that Kafka would have
    split, and whatever options the user's Java has.
    """
    monkeypatch.setenv("JAVA_TOOL_OPTIONS", "-Xmx1m")
    monkeypatch.setenv("JDK_JAVA_OPTIONS", "-version")
    monkeypatch.setenv("LC_ALL", "POSIX")
    broker = EmbeddedKafka(tmp_path / "a, b\\n é", password="p" * 43)
    await asyncio.to_thread(broker.start)
    try:
        controller = f"127.0.0.1:{broker.controller_port}"
        urls = (
            broker.bootstrap,
            controller,
            kafka_url(broker.port, "q" * 43),
            kafka_url(broker.controller_port, "q" * 43),
            kafka_url(broker.port, "p" * 43).replace("SCRAM-SHA-512", "PLAIN"),
        )
        assert await asyncio.gather(*map(refused, urls)) == [True] * len(urls)
        assert not await refused(broker.url)
        for path in (broker.directory / "server.properties", broker.directory / "login"):
            assert path.stat().st_mode & 0o777 == 0o600
        assert "p" * 43 not in " ".join(psutil.Process(broker.pid).cmdline())
        assert (broker.directory / "log" / "meta.properties").exists()
    finally:
        await asyncio.to_thread(broker.stop)


async def test_broker_whose_log_was_made_without_a_password_is_given_one(tmp_path: Path) -> None:
    """An older home, or one whose secrets were lost: its records stay, and the old
    password is worth nothing any more.
    """
    before = OwnBroker(tmp_path / "kafka")
    await asyncio.to_thread(before.start)
    topic = await make_topic(before.bootstrap)
    producer = AIOKafkaProducer(bootstrap_servers=before.bootstrap, acks="all")
    await producer.start()
    await producer.send_and_wait(topic, b"kept")
    await producer.stop()
    await asyncio.to_thread(before.stop)
    for password, old in (("p" * 43, before.bootstrap), ("q" * 43, kafka_url(before.port, "p" * 43))):
        broker = EmbeddedKafka(tmp_path / "kafka", before.port, password=password)
        await asyncio.to_thread(broker.start)
        try:
            assert await refused(old)
            assert await read_all(broker.url, topic) == [b"kept"]
        finally:
            await asyncio.to_thread(broker.stop)
    assert {path.name for path in (tmp_path / "kafka").glob("*.properties")} == {"server.properties"}
