"""The folder of one installation on this machine, `.tocsin/` (or `TOCSIN_HOME`): data,
logs, secrets, and what runs now.
"""

import fcntl
import json
import os
import secrets
import shlex
from collections.abc import Mapping
from pathlib import Path
from stat import S_ISVTX
from typing import Any, TextIO

from services.common.errors import ConfigError

_PRIVATE = 0o600
_REFUSED = '\\<>&"'
_DRAWN = ("key_pepper", "pseudonym_key", "kafka_password", "ray_token")


class Home:
    """Where things lie, and the three files that the supervisor keeps: state.json,
    secrets.json, connection.env.
    """

    def __init__(self, root: Path | None = None) -> None:
        self.root = (root or Path(os.environ.get("TOCSIN_HOME") or ".tocsin")).resolve()
        self.logs = self.root / "logs"
        self.kafka = self.root / "kafka"
        self.store = self.root / "clickhouse"
        self.store_users = self.root / "clickhouse-users.json"
        self.connection_file = self.root / "connection.env"
        self._state_file = self.root / "state.json"
        self._secrets_file = self.root / "secrets.json"

    def create(self) -> None:
        """Makes the folder and closes it to everybody but its owner, also where it was
        there before.

        Raises:
            ConfigError: it cannot be a folder of ours; the message says why.
        """
        if odd := sorted({one for one in str(self.root) if one in _REFUSED or not one.isprintable()}):
            raise ConfigError(
                f"TOCSIN_HOME={str(self.root)!r} has {''.join(odd)!r} in it, which the store's engine cannot "
                "have in a path: set TOCSIN_HOME to a folder without."
            )
        if self.root in _others() or (self.root.is_dir() and self.root.stat().st_mode & S_ISVTX):
            raise ConfigError(f"TOCSIN_HOME={self.root} holds other things: name a folder of Tocsin's own.")
        try:
            for folder in (self.root, self.logs, self.kafka, self.store):
                folder.mkdir(mode=0o700, parents=True, exist_ok=True)
                folder.chmod(0o700)
            write_private(self.root / ".writable", "")
            (self.root / ".writable").unlink()
        except OSError as error:
            raise ConfigError(
                f"{self.root} cannot be Tocsin's folder ({error.strerror}: {error.filename}): set "
                "TOCSIN_HOME to one that you own and may write to."
            ) from error

    def lock(self) -> TextIO | None:
        """The lock of this home, held until the file is closed or the process dies;
        None if another supervisor has it.
        """
        file = (self.root / "lock").open("a+")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.close()
            return None
        return file

    def is_locked(self) -> bool:
        """Whether a supervisor runs here now."""
        if not (self.root / "lock").exists():
            return False
        held = self.lock()
        if held:
            held.close()
        return held is None

    def read_state(self) -> dict[str, Any]:
        """What the supervisor last wrote of itself; empty if it never did."""
        try:
            return dict(json.loads(self._state_file.read_text(encoding="utf-8")))
        except (FileNotFoundError, ValueError):
            return {}

    def write_state(self, state: Mapping[str, Any]) -> None:
        """Replaces it whole, so that a reader never sees half of it."""
        write_private(self._state_file, json.dumps(state, indent=1))

    def secrets(self) -> dict[str, Any]:
        """The keys of this installation, drawn the first time and kept: with others,
        stored API keys and pseudonyms would mean nothing.
        """
        kept = (
            json.loads(self._secrets_file.read_text(encoding="utf-8")) if self._secrets_file.exists() else {}
        )
        drawn = {name: secrets.token_urlsafe(32) for name in _DRAWN} | kept
        if drawn != kept:
            self.keep_secrets(drawn)
        return drawn

    def keep_secrets(self, values: Mapping[str, Any]) -> None:
        """Writes them all, readable by the owner only."""
        write_private(self._secrets_file, json.dumps(values, indent=1))

    def keep_environment(self, environment: Mapping[str, str]) -> None:
        """Remembers what the services were given at this start, secrets included."""
        self.keep_secrets(self.secrets() | {"environment": dict(environment)})

    def read_environment(self) -> dict[str, str]:
        """What the services were given at the last start; empty before the first."""
        return dict(self.secrets().get("environment", {})) if self._secrets_file.exists() else {}

    def write_connection(self, values: Mapping[str, str]) -> None:
        """Writes connection.env: after `source`, clients find the gateway, the bus and
        the store.
        """
        write_private(
            self.connection_file,
            "".join(f"export {name}={shlex.quote(value)}\n" for name, value in values.items()),
        )

    def read_connection(self) -> dict[str, str]:
        """What connection.env exports."""
        exports = (
            shlex.split(line)[1] for line in self.connection_file.read_text(encoding="utf-8").splitlines()
        )
        return {name: value for name, _, value in (one.partition("=") for one in exports)}


def _others() -> tuple[Path, ...]:
    """Folders that are surely no home of ours."""
    try:
        return (Path("/"), Path.home())
    except RuntimeError:  # a user without an entry or HOME, as in some containers
        return (Path("/"),)


def write_private(path: Path, text: str) -> None:
    """Writes a file that only its owner may read, whole or not at all."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    with os.fdopen(
        os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, _PRIVATE), "w", encoding="utf-8"
    ) as file:
        file.write(text)
    temporary.replace(path)
