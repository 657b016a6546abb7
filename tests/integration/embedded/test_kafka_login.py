"""Giving a log its password, with a stand-in for Java that only listens, or does not."""

import contextlib
import socket
import sys
from pathlib import Path

import pytest

from services.common.errors import ConfigError
from services.embedded.installation.ports import LOOPBACK
from services.embedded.kafka.broker import Distribution, prepare
from services.embedded.kafka.login import forget_login_files, give_login, has_login, note_login

_PASSWORD = "the password that clients have"
_STAND_IN = """
import pathlib, socket, sys, time
told = " ".join(sys.argv[1:])
print(told, file=open("calls", "a"))
for name in ("login.properties", "client.properties", "credential.properties"):
    print(pathlib.Path(name).read_text(), file=open(f"seen-{name}", "a"))
if "kafka.Kafka" in told:
    server = socket.socket()
    server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if PORT:
        server.bind(("127.0.0.1", PORT))
        server.listen()
    time.sleep(SECONDS)
"""


def _java(directory: Path, *, port: int, seconds: float) -> list[str]:
    script = directory / "java.py"
    script.write_text(_STAND_IN.replace("PORT", str(port)).replace("SECONDS", str(seconds)))
    (directory / "server.properties").write_text("own=1\n")
    return [sys.executable, str(script)]


def _files(directory: Path) -> set[str]:
    return {one.name for one in directory.iterdir() if one.name.endswith((".properties", ".arguments"))}


@pytest.mark.parametrize("seconds", [0.3, 30.0], ids=["the broker ends", "the broker does not listen"])
def test_port_that_somebody_else_took_first_is_told_nothing(tmp_path: Path, seconds: float) -> None:
    """Not the password, not even a login: the broker itself must listen."""
    with contextlib.closing(socket.create_server((LOOPBACK, 0))) as other:
        port = other.getsockname()[1]
        java = _java(tmp_path, port=0, seconds=seconds)
        with pytest.raises(ConfigError, match=f"another program listens on its port {port}"):
            give_login(tmp_path, java=java, port=port, user="u", password=_PASSWORD, timeout_s=1.0)
    assert "ConfigCommand" not in (tmp_path / "calls").read_text()
    assert _files(tmp_path) == {
        "server.properties",
        *(f"seen-{one}.properties" for one in ("login", "client", "credential")),
    }
    assert not has_login(tmp_path, _PASSWORD)


def test_password_is_not_what_is_logged_in_with_and_no_file_is_left(tmp_path: Path) -> None:
    """PLAIN takes one that was drawn for this once; each time another."""
    used = []
    with contextlib.closing(socket.create_server((LOOPBACK, 0))) as probe:
        port = probe.getsockname()[1]
    for _ in range(2):
        java = _java(tmp_path, port=port, seconds=60)
        give_login(tmp_path, java=java, port=port, user="u", password=_PASSWORD, timeout_s=20)
        assert has_login(tmp_path, _PASSWORD)
        client = tmp_path / "seen-client.properties"
        assert _PASSWORD not in client.read_text()
        used.append(client.read_text().split('password="')[1].split('"')[0])
        assert used[-1] in (tmp_path / "seen-login.properties").read_text()
        for seen in tmp_path.glob("seen-*"):
            seen.unlink()
        assert _files(tmp_path) == {"server.properties"}
    assert used[0] != used[1]


def test_files_that_a_killed_start_left_are_gone_with_the_next(tmp_path: Path) -> None:
    """They hold passwords; also where nothing is to be given."""
    left = ("login.properties", "client.properties", "credential.properties", "format.arguments")
    (tmp_path / "log").mkdir()
    (tmp_path / "log" / "meta.properties").touch()
    note_login(tmp_path, "p" * 43)
    for name in left:
        (tmp_path / name).write_text("secret")
    prepare(tmp_path, 1, 2, Distribution(()), "p" * 43)
    assert _files(tmp_path) == {"server.properties"}
    forget_login_files(tmp_path)
