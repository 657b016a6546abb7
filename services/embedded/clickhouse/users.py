"""Who may come in, and with what role.

The users file is JSON, readable by its owner only:

    {"version": 1, "users": [{"name": "analyst", "role": "analyst", "salt": "<hex>",
                              "sha256": "<hex of SHA-256(salt + password)>"}, …]}

Roles are `admin` (all that is not refused to everybody), `service` (reads and writes in
the database `tocsin`), `analyst` (reads in `tocsin`) and `gateway` (an analyst who reads
what requests cost and nothing else). Passwords are made here, 32
random bytes each, so a plain salted hash is as good as a slow one and costs nothing at
each request.
"""

import hashlib
import hmac
import json
import os
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from services.common.errors import ConfigError


class Role(StrEnum):
    """What a user may do; `rights.py` says it in full."""

    ADMIN = "admin"
    SERVICE = "service"
    ANALYST = "analyst"
    GATEWAY = "gateway"

    @property
    def only_reads(self) -> bool:
        """Whether an analyst's walls hold for it: reads, few settings, bounded queries."""
        return self in (Role.ANALYST, Role.GATEWAY)


@dataclass(frozen=True, slots=True)
class User:
    """A name with a role; the password is known only as a salted hash."""

    name: str
    role: Role
    salt: bytes
    digest: bytes


# Compared against when the name is unknown, so that a wrong name takes as long as a
# wrong password.
_NOBODY = User(name="", role=Role.ANALYST, salt=b"\0" * 16, digest=b"\0" * 32)


def create_users_file(path: Path, known: Mapping[str, str] | None = None) -> dict[str, str]:
    """Writes a users file with one user per role, named like it, and returns their
    passwords, which are kept nowhere else: the `known` ones, and new ones for the rest.

    Raises:
        FileExistsError: The file is there already; its passwords stay valid.
    """
    passwords = {role.value: (known or {}).get(role.value) or secrets.token_urlsafe(32) for role in Role}
    entries = [_entry(name, Role(name), password) for name, password in passwords.items()]
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        json.dump({"version": 1, "users": entries}, file, indent=2)
        file.write("\n")
    return passwords


def _entry(name: str, role: Role, password: str) -> dict[str, str]:
    salt = secrets.token_bytes(16)
    return {"name": name, "role": role.value, "salt": salt.hex(), "sha256": _digest(salt, password).hex()}


def _digest(salt: bytes, password: str) -> bytes:
    return hashlib.sha256(salt + password.encode("utf-8", "surrogatepass")).digest()


class Users:
    """The users of one store."""

    def __init__(self, users: list[User]) -> None:
        self._by_name = {user.name: user for user in users}

    @classmethod
    def load(cls, path: Path) -> "Users":
        """Reads a users file.

        Raises:
            ConfigError: The file is missing, readable by others, or not of the format
                above.
        """
        try:
            mode = path.stat().st_mode & 0o777
            document = json.loads(path.read_text(encoding="utf-8"))
            users = [
                User(
                    name=entry["name"],
                    role=Role(entry["role"]),
                    salt=bytes.fromhex(entry["salt"]),
                    digest=bytes.fromhex(entry["sha256"]),
                )
                for entry in document["users"]
            ]
        except OSError as error:
            raise ConfigError(
                f"the users file {path} cannot be read ({error.strerror}); make one with create_users_file()"
            ) from error
        except (KeyError, TypeError, ValueError) as error:
            raise ConfigError(
                f"the users file {path} is not of the expected format ({type(error).__name__}: {error}); "
                "delete it to get a new one"
            ) from error
        if mode & 0o077:
            raise ConfigError(f"the users file {path} has mode {mode:o}; make it 600")
        return cls(users)

    def authenticate(self, name: str, password: str) -> User | None:
        """The user of that name, if the password is theirs; compared in constant time."""
        user = self._by_name.get(name, _NOBODY)
        right = hmac.compare_digest(_digest(user.salt, password), user.digest)
        return user if right and user is not _NOBODY else None
