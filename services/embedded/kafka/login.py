"""The login of a broker whose log was formatted without it, or with another password:
an older home's, or one whose secrets.json was lost.

The broker's one user is in its log, where `format` puts it; afterwards only a running
broker can change it. So one is run for a moment that takes the new password as PLAIN,
which needs no user in the log, told of the user, and stopped again: once, some seconds.
"""

import hashlib
import os
import subprocess
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from services.common.errors import ConfigError
from services.embedded.installation.child_environment import child_environment
from services.embedded.installation.home import write_private
from services.embedded.installation.ports import LOOPBACK, is_listening
from services.embedded.supervision.process_sessions import popen_tied

_TIMEOUT_S = 300.0
_MARKER = "login"
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


def give_login(directory: Path, *, java: Sequence[str], port: int, user: str, password: str) -> None:
    """Gives the log in `directory`, whose server.properties are written, the user's
    password.

    Raises:
        ConfigError: Kafka did not take it; the message has its words.
    """
    login = {"module": _PLAIN_LOGIN, "user": user, "password": password}
    client, credential = directory / "client.properties", directory / "credential.properties"
    broker_file = directory / "login.properties"
    own = (directory / "server.properties").read_text(encoding="utf-8")
    write_private(broker_file, own + _BROKER.format(**login))
    write_private(client, _CLIENT.format(**login))
    write_private(credential, f"SCRAM-SHA-512={scram_credential(password)}\n")
    environment = child_environment(os.environ)
    with (directory / "login.out").open("wb") as output:
        broker = popen_tied([*java, "kafka.Kafka", broker_file.name], output, cwd=directory, env=environment)
        try:
            deadline = time.monotonic() + _TIMEOUT_S
            while not is_listening(port):
                if broker.poll() is not None or time.monotonic() > deadline:
                    raise ConfigError(
                        f"Kafka in {directory} did not start: {directory / 'login.out'} says why."
                    )
                time.sleep(0.1)
            done = subprocess.run(
                [
                    *java,
                    "kafka.admin.ConfigCommand",
                    "--bootstrap-server",
                    f"{LOOPBACK}:{port}",
                    "--command-config",
                    client.name,
                    "--alter",
                    "--entity-type",
                    "users",
                    "--entity-name",
                    user,
                    "--add-config-file",
                    credential.name,
                ],
                check=False,
                cwd=directory,
                env=environment,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                timeout=_TIMEOUT_S,
            )
        finally:
            for file in (client, credential, broker_file):
                file.unlink()
            broker.terminate()
            with suppress(subprocess.TimeoutExpired):
                broker.wait(60)
            broker.kill()
            broker.wait()
    if done.returncode:
        raise ConfigError(f"Kafka in {directory} did not take its new password:\n{done.stdout.strip()}")
    note_login(directory, password)


def _sum(password: str) -> str:
    return hashlib.sha256(password.encode()).hexdigest()
