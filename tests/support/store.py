"""One embedded store for a whole test session, as a process of its own.

Tests that fill it make tables of their own in it.
"""

import contextlib
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import clickhouse_connect
import pytest

from services.embedded.clickhouse.users import create_users_file
from services.embedded.installation.ports import free_port, is_free
from tests.lifetimes import SERVERS, enter_for

_START_S = 100.0


@dataclass(frozen=True)
class Answer:
    """What came back: the status, the headers (lower case), the body."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def text(self) -> str:
        """The body as text, without the line end."""
        return self.body.decode().rstrip("\n")

    @property
    def code(self) -> int:
        """ClickHouse's error code; 0 when there is none."""
        return int(self.headers.get("x-clickhouse-exception-code", 0))


@dataclass
class RunningStore:
    """A store that runs: where it listens, who may come in, and how to stop and start
    it.
    """

    folder: Path
    port: int
    passwords: dict[str, str]
    arguments: tuple[str, ...] = ()
    process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    host = "127.0.0.1"
    database = "tocsin"

    @property
    def http_url(self) -> str:
        """The address without user and database."""
        return f"http://{self.host}:{self.port}"

    def url(self, user: str = "service", database: str = "tocsin") -> str:
        """The address as TOCSIN_CLICKHOUSE_URL wants it."""
        return f"http://{user}:{self.passwords[user]}@{self.host}:{self.port}/{database}"

    @property
    def pid(self) -> int:
        """The process that runs now."""
        assert self.process is not None
        return self.process.pid

    def client(self, user: str, **options: Any) -> Any:
        """A clickhouse-connect client, without a session of its own."""
        return clickhouse_connect.get_client(
            host=self.host,
            port=self.port,
            username=user,
            password=self.passwords[user],
            **({"autogenerate_session_id": False} | options),
        )

    def admin_client(self, **options: Any) -> Any:
        """A clickhouse-connect client that may do all."""
        return self.client("admin", **options)

    def ask(
        self,
        sql: str | bytes = b"",
        *,
        user: str = "admin",
        method: str = "POST",
        headers: dict[str, str] | None = None,
        path: str = "/",
        **query: object,
    ) -> "Answer":
        """One plain HTTP request; `query` are the URL's parameters, `sql` is the body."""
        body = sql.encode() if isinstance(sql, str) else sql
        with contextlib.closing(HTTPConnection(self.host, self.port, timeout=60)) as connection:
            given = {
                "X-ClickHouse-User": user,
                "X-ClickHouse-Key": self.passwords.get(user, ""),
                **(headers or {}),
            }
            connection.request(
                method, f"{path}?{urlencode(query)}" if query else path, body=body or None, headers=given
            )
            response = connection.getresponse()
            return Answer(
                response.status,
                {name.lower(): value for name, value in response.getheaders()},
                response.read(),
            )

    def start(self) -> None:
        """Starts the process and returns when it answers.

        The first time it takes another port where its own was taken meanwhile.
        """
        if self.process is None and not is_free(self.port):
            self.port = free_port()
        command = [
            sys.executable,
            "-m",
            "services.embedded.clickhouse",
            "--path",
            str(self.folder / "data"),
            "--port",
            str(self.port),
        ]
        with (self.folder / "store.log").open("ab") as log:
            self.process = subprocess.Popen(
                [*command, "--users", str(self.folder / "users.json"), *self.arguments],
                stdout=log,
                stderr=log,
            )
        self._wait_until_ready(time.monotonic() + _START_S)

    def _wait_until_ready(self, give_up: float) -> None:
        while True:
            assert self.process is not None
            if self.process.poll() is not None or time.monotonic() > give_up:
                raise RuntimeError(
                    f"the store did not start (exit status {self.process.poll()}): "
                    f"{(self.folder / 'store.log').read_text()[-2000:]}"
                )
            with contextlib.suppress(OSError, HTTPException):
                if self.ask("SELECT 1").text == "1":  # its own password: no other store on this port
                    return
            time.sleep(0.02)

    def stop(self, *, kill: bool = False) -> int:
        """Ends the process, by SIGTERM or as a crash; its exit status."""
        assert self.process is not None
        self.process.send_signal(signal.SIGKILL if kill else signal.SIGTERM)
        return self.process.wait(30)

    def restart(self, *, kill: bool = False) -> None:
        """Ends it and starts it again: same port, same data, same passwords."""
        self.stop(kill=kill)
        self.start()


@contextlib.contextmanager
def running_store(folder: Path, *arguments: str) -> Iterator[RunningStore]:
    """A store with its data, users and log under `folder`; `arguments` are further ones
    of its command line. No process is left at the end.
    """
    folder.mkdir(parents=True, exist_ok=True)
    passwords = create_users_file(folder / "users.json")
    running = RunningStore(folder, free_port(), passwords, arguments)
    try:
        running.start()
        yield running
    finally:
        if running.process is not None and running.process.poll() is None:
            running.process.kill()
            running.process.wait(30)


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> RunningStore:
    """The session's store.

    Kill or restart it only in a test that starts it again: others share it.
    """
    return enter_for(SERVERS, running_store(tmp_path_factory.mktemp("store")))
