"""What another user of this machine, or somebody on its network, finds of a running
Tocsin: no socket but on loopback, no bus without the password, no secret to be read.
"""

import asyncio
import os
import stat
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from aiokafka import AIOKafkaConsumer
from aiokafka.errors import KafkaError

from services.common.process.kafka_address import KafkaAddress, connection_options
from services.embedded.installation.home import Home
from services.embedded.supervision.process_sessions import session_members
from tests.support.installation import Installation

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(400)]
_LOOPBACK = ("127.", "::1", "::ffff:127.")


def processes(tocsin: Installation) -> list[psutil.Process]:
    """The supervisor and every process of every session that it leads, Ray's included."""
    state = Home(tocsin.home).read_state()
    sessions = [one["pid"] for one in state["processes"] if one["pid"]]
    pids = {pid for session in sessions for pid in session_members(session)}
    return [psutil.Process(pid) for pid in sorted(pids | {state["pid"]})]


def test_every_socket_that_listens_is_on_loopback(tocsin: Installation) -> None:
    """Kafka, the store, the services, and all that Ray starts: gcs_server, raylet, its
    agents, the workers.
    """
    found = [
        (process.name(), one.laddr.ip, one.laddr.port)
        for process in processes(tocsin)
        for one in process.net_connections("inet")
        if one.status == psutil.CONN_LISTEN
        or (one.laddr and not one.raddr and one.status == psutil.CONN_NONE)
    ]
    names = {name for name, _, _ in found}
    assert {"gcs_server", "raylet", "java"} <= names
    assert any(name.startswith("ray::ServeReplica") for name in names)
    assert [one for one in found if not one[1].startswith(_LOOPBACK)] == []


def test_no_argument_and_no_open_file_shows_a_secret(tocsin: Installation) -> None:
    """Arguments are for every user to read, files by their mode."""
    kept = Home(tocsin.home).secrets()
    secrets = [value for value in kept.values() if isinstance(value, str)] + list(
        kept["store_passwords"].values()
    )
    arguments = " ".join(" ".join(process.cmdline()) for process in processes(tocsin))
    assert [secret for secret in secrets if secret in arguments] == []
    assert stat.S_IMODE(tocsin.home.stat().st_mode) == 0o700
    assert {
        stat.S_IMODE((tocsin.home / name).stat().st_mode) for name in ("kafka", "clickhouse", "logs")
    } == {0o700}
    log = b"".join(path.read_bytes() for path in (tocsin.home / "logs").iterdir())
    assert [secret for secret in secrets if secret.encode() in log] == []


def test_rays_folder_is_closed_to_others(tocsin: Installation) -> None:
    """Ray opens its own folder to everybody; the one above it is closed."""
    environment = Home(tocsin.home).read_environment()
    folder = Path(environment["TOCSIN_RAY_TEMP_DIR"])
    assert any(path.name.startswith("session_") for path in folder.iterdir())
    above = folder.parent.stat()
    assert (stat.S_IMODE(above.st_mode), above.st_uid) == (0o700, os.getuid())


@pytest.mark.parametrize("password", [None, "guessed"])
async def test_bus_without_the_password_is_closed(tocsin: Installation, password: str | None) -> None:
    """Another user of this machine reaches the port and reads nothing."""
    address = KafkaAddress.parse(tocsin.environment["TOCSIN_KAFKA_URL"])
    url = address.servers
    if password:
        url = KafkaAddress(address.servers, address.protocol, address.username, password).url
    consumer = AIOKafkaConsumer(**connection_options(url))
    try:
        with pytest.raises((KafkaError, TimeoutError)):
            await asyncio.wait_for(consumer.start(), 15)
    finally:
        await consumer.stop()


async def test_bus_with_the_address_of_connection_env_answers(tocsin: Installation) -> None:
    """Whoever may read the file gets in, and so do our services."""
    consumer = AIOKafkaConsumer(**connection_options(tocsin.environment["TOCSIN_KAFKA_URL"]))
    await consumer.start()
    try:
        assert "inference.completed.v1" in await consumer.topics()
    finally:
        await consumer.stop()


@pytest.mark.parametrize(("token", "lets_in"), [("", True), ("g" * 43, False)])
def test_ray_lets_in_who_has_its_token_and_nobody_else(
    tocsin: Installation, token: str, *, lets_in: bool
) -> None:
    """Whoever could submit work to Ray could run code as us."""
    (gcs,) = [one for one in processes(tocsin) if one.name() == "gcs_server"]
    port = next(one.laddr.port for one in gcs.net_connections("inet") if one.status == psutil.CONN_LISTEN)
    ours = Home(tocsin.home).secrets()["ray_token"]
    program = (
        "from ray._raylet import GcsClient\n"
        f"GcsClient(address='127.0.0.1:{port}').internal_kv_keys(b'', None, 20)\n"
        "print('IN')"
    )
    environment = {**os.environ, "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": token or ours}
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert ("IN\n" in done.stdout) is lets_in, done.stderr
