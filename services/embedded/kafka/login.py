"""The login of a broker whose log was formatted without it, or with another password:
an older home's, or one whose secrets.json was lost.

The broker's one user is in its log, where `format` puts it; afterwards only a running
broker can change it. So one is run for a moment that takes PLAIN, which needs no user in
the log, told of the user, and stopped again: once, some seconds. Another user of the
machine may have taken the port before. So nobody logs in before the port is seen to be
that broker's, and PLAIN's password is drawn for this once.
"""

import hashlib
import os
import secrets
import subprocess
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from services.common.errors import ConfigError
from services.embedded.installation.child_environment import child_environment
from services.embedded.installation.home import write_private
from services.embedded.installation.ports import LOOPBACK, is_listening
from services.embedded.supervision.process_sessions import popen_tied, process_listens

_TIMEOUT_S = 300.0
_MARKER = "login"
_BROKER_FILE, _CLIENT_FILE, _CREDENTIAL_FILE = (
    "login.properties",
    "client.properties",
    "credential.properties",
)
_FILES = (_BROKER_FILE, _CLIENT_FILE, _CREDENTIAL_FILE)
_PLAIN_LOGIN = "org.apache.kafka.common.security.plain.PlainLoginModule"
# After the broker's own properties, whose names they take: of two, Java keeps the last.
_BROKER = """
sasl.enabled.mechanisms=PLAIN
sasl.mechanism.inter.broker.protocol=PLAIN
listener.name.clients.plain.sasl.jaas.config={module} required username="{user}" password="{password}" \
    user_{user}="{password}";
"""
_CLIENT = """security.protocol=SASL_PLAINTEXT
sasl.mechanism=PLAIN
sasl.jaas.config={module} required username="{user}" password="{password}";
"""


def scram_credential(password: str) -> str:
    """What Kafka's tools take for the user's password: with the fewest iterations that
    it allows, since the password is drawn, 256 bits long.
    """
    return f"iterations=4096,password={password}"


def note_login(directory: Path, password: str) -> None:
    """Remembers that the log has this password; only a sum of it is kept."""
    write_private(directory / _MARKER, _sum(password))


def has_login(directory: Path, password: str) -> bool:
    """Whether the log was given this password."""
    try:
        return (directory / _MARKER).read_text(encoding="utf-8") == _sum(password)
    except FileNotFoundError:
        return False


def forget_login_files(directory: Path) -> None:
    """Removes what a run that was killed meanwhile left: it holds passwords."""
    for name in _FILES:
        (directory / name).unlink(missing_ok=True)


def give_login(
    directory: Path,
    *,
    java: Sequence[str],
    port: int,
    user: str,
    password: str,
    timeout_s: float = _TIMEOUT_S,
) -> None:
    """Gives the log in `directory`, whose server.properties are written, the user's
    password.

    Raises:
        ConfigError: Kafka did not take it; the message has its words.
    """
    login = {"module": _PLAIN_LOGIN, "user": user, "password": secrets.token_urlsafe(32)}
    own = (directory / "server.properties").read_text(encoding="utf-8")
    environment = child_environment(os.environ)
    try:
        write_private(directory / _BROKER_FILE, own + _BROKER.format(**login))
        write_private(directory / _CLIENT_FILE, _CLIENT.format(**login))
        write_private(directory / _CREDENTIAL_FILE, f"SCRAM-SHA-512={scram_credential(password)}\n")
        with (directory / "login.out").open("wb") as output:
            command = [*java, "kafka.Kafka", _BROKER_FILE]
            broker = popen_tied(command, output, cwd=directory, env=environment)
            try:
                _await_own_port(broker, port, directory, timeout_s)
                done = subprocess.run(
                    [*java, *_alter_user(port, user)],
                    check=False,
                    cwd=directory,
                    env=environment,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.STDOUT,
                    text=True,
                    timeout=timeout_s,
                )
            finally:
                _end(broker)
    finally:
        forget_login_files(directory)
    if done.returncode:
        raise ConfigError(f"Kafka in {directory} did not take its new password:\n{done.stdout.strip()}")
    note_login(directory, password)


def _await_own_port(broker: "subprocess.Popen[bytes]", port: int, directory: Path, timeout_s: float) -> None:
    """Waits until the broker itself, and not somebody else, listens.

    Raises:
        ConfigError: it ended, or does not listen in time.
    """
    deadline = time.monotonic() + timeout_s
    while not process_listens(broker.pid, port):
        if broker.poll() is not None or time.monotonic() > deadline:
            whose = f"; another program listens on its port {port}" if is_listening(port) else ""
            raise ConfigError(
                f"Kafka in {directory} did not start{whose}: {directory / 'login.out'} says why."
            )
        time.sleep(0.1)


def _alter_user(port: int, user: str) -> list[str]:
    return [
        "kafka.admin.ConfigCommand",
        "--bootstrap-server",
        f"{LOOPBACK}:{port}",
        "--command-config",
        _CLIENT_FILE,
        "--alter",
        "--entity-type",
        "users",
        "--entity-name",
        user,
        "--add-config-file",
        _CREDENTIAL_FILE,
    ]


def _end(broker: "subprocess.Popen[bytes]") -> None:
    broker.terminate()
    with suppress(subprocess.TimeoutExpired):
        broker.wait(60)
    broker.kill()
    broker.wait()


def _sum(password: str) -> str:
    return hashlib.sha256(password.encode()).hexdigest()
