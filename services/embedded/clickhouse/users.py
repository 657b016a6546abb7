"""Who may come in, and with what role.

The users file is JSON, readable by its owner only:

    {"version": 1, "users": [{"name": "analyst", "role": "analyst", "salt": "<hex>",
                              "sha256": "<hex of SHA-256(salt + password)>"}, …]}

Analysts who were added (`AnalystsFile`) are in a file of the same format, which is
read again when it has changed; those of a tenant have the role `tenant_analyst` and
`"tenant": "<id>"`.

Roles are `admin` (all that is not refused to everybody), `service` (reads and writes in
the database `tocsin`), `analyst` (reads in `tocsin`), `tenant_analyst` (reads
what views tell of one tenant) and `gateway` (an analyst who reads
what requests cost and nothing else). Passwords are made here, 32
random bytes each, so a plain salted hash is as good as a slow one and costs nothing at
each request.
"""

import hashlib
import hmac
import json
import os
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import structlog

from services.common.errors import ConfigError

_log = structlog.get_logger(__name__)


class Role(StrEnum):
    """What a user may do; `rights.py` says it in full."""

    ADMIN = "admin"
    SERVICE = "service"
    ANALYST = "analyst"
    GATEWAY = "gateway"
    TENANT_ANALYST = "tenant_analyst"

    @property
    def only_reads(self) -> bool:
        """Whether an analyst's walls hold for it: reads, few settings, bounded queries."""
        return self in (Role.ANALYST, Role.GATEWAY, Role.TENANT_ANALYST)


INSTALLED = (Role.ADMIN, Role.SERVICE, Role.ANALYST, Role.GATEWAY)
"""Roles of which each store has one user, named like it."""
ANALYSTS = "analysts/analysts.json"
"""Where a store keeps those who were added, in its data directory."""
_ADDED = (Role.ANALYST, Role.TENANT_ANALYST)
_NAME = re.compile(r"[a-z][a-z0-9_.-]{0,62}", re.ASCII)
_TENANT = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}", re.ASCII)


@dataclass(frozen=True, slots=True)
class User:
    """A name with a role; the password is known only as a salted hash. `tenant` is whose
    analyst it is, empty for everybody else.
    """

    name: str
    role: Role
    salt: bytes
    digest: bytes
    tenant: str = ""

    def __post_init__(self) -> None:
        if (self.role is Role.TENANT_ANALYST) != bool(self.tenant):
            raise ValueError(f"{self.name}: an analyst of a tenant has one, and nobody else has")


# Compared against when the name is unknown, so that a wrong name takes as long as a
# wrong password.
_NOBODY = User(name="", role=Role.ANALYST, salt=b"\0" * 16, digest=b"\0" * 32)


def create_users_file(path: Path, known: Mapping[str, str] | None = None) -> dict[str, str]:
    """Writes a users file with one user per role, named like it, and returns their
    passwords, which are kept nowhere else: the `known` ones, and new ones for the rest.

    Raises:
        FileExistsError: The file is there already; its passwords stay valid.
    """
    passwords = {role.value: (known or {}).get(role.value) or secrets.token_urlsafe(32) for role in INSTALLED}
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

    def __init__(self, users: list[User], analysts: "AnalystsFile | None" = None) -> None:
        self._by_name = {user.name: user for user in users}
        self._analysts = analysts

    @classmethod
    def load(cls, path: Path, analysts: Path | None = None) -> "Users":
        """Reads a users file; `analysts` is where those who are added are kept.

        Raises:
            ConfigError: The file is missing, readable by others, or not of the format
                above.
        """
        try:
            mode = path.stat().st_mode & 0o777
            document = json.loads(path.read_text(encoding="utf-8"))
            users = [_user(entry) for entry in document["users"]]
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
        return cls(users, AnalystsFile(analysts) if analysts else None)

    def authenticate(self, name: str, password: str) -> User | None:
        """The user of that name, if the password is theirs; compared in constant time."""
        added = self._analysts.users() if self._analysts else {}
        user = self._by_name.get(name) or added.get(name, _NOBODY)
        right = hmac.compare_digest(_digest(user.salt, password), user.digest)
        return user if right and user is not _NOBODY else None


def _user(entry: Mapping[str, str]) -> User:
    return User(
        name=entry["name"],
        role=Role(entry["role"]),
        salt=bytes.fromhex(entry["salt"]),
        digest=bytes.fromhex(entry["sha256"]),
        tenant=entry.get("tenant", ""),
    )


def check_analyst_name(name: str, tenant: str, *, needs_tenant: bool = False) -> None:
    """Refuses what cannot be an analyst's name, or a tenant's id.

    Raises:
        ConfigError: it cannot.
    """
    if not _NAME.fullmatch(name) or name in list(Role):
        raise ConfigError(
            f"{name!r} cannot be an analyst's name: small letters, digits, `_`, `.` and `-`, a letter "
            "first, and no name of a role"
        )
    if (tenant or needs_tenant) and not _TENANT.fullmatch(tenant):
        raise ConfigError(f"{tenant!r} is no tenant's id")


class AnalystsFile:
    """Analysts beside the one that each store has: by name, of all or of one tenant.

    The store reads the file again when it has changed, so that whoever is added or
    removed is so at once. Where it cannot be read, nobody of it comes in.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._seen: tuple[int, int] | None = None
        self._users: dict[str, User] = {}

    def users(self) -> Mapping[str, User]:
        """Those who are in it now."""
        try:
            status = self._path.stat()
            if (seen := (status.st_ino, status.st_mtime_ns)) != self._seen:
                self._users = {user.name: user for user in map(_user, self._entries()) if user.role in _ADDED}
                self._seen = seen
        except FileNotFoundError:
            self._users, self._seen = {}, None
        except (OSError, KeyError, TypeError, ValueError) as error:
            _log.error("analysts_file_unreadable", path=str(self._path), error=type(error).__name__)
            self._users, self._seen = {}, None
        return self._users

    def add(self, name: str, tenant: str) -> str:
        """Adds an analyst, of a tenant or, where that is empty, of all; their password.

        Raises:
            ConfigError: the name or the tenant is none, or the name is taken.
        """
        check_analyst_name(name, tenant)
        entries = self._entries()
        if any(entry["name"] == name for entry in entries):
            raise ConfigError(
                f"there is an analyst {name!r} already: remove it first, or choose another name"
            )
        password = secrets.token_urlsafe(32)
        role = Role.TENANT_ANALYST if tenant else Role.ANALYST
        self._write([*entries, _entry(name, role, password) | ({"tenant": tenant} if tenant else {})])
        return password

    def remove(self, name: str) -> bool:
        """Removes one; whether there was one."""
        entries = self._entries()
        left = [entry for entry in entries if entry["name"] != name]
        if len(left) < len(entries):
            self._write(left)
        return len(left) < len(entries)

    def _entries(self) -> list[dict[str, str]]:
        try:
            return list(json.loads(self._path.read_text(encoding="utf-8"))["users"])
        except FileNotFoundError:
            return []

    def _write(self, entries: list[dict[str, str]]) -> None:
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        temporary = self._path.with_name(f".{self._path.name}.{os.getpid()}")
        with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
            json.dump({"version": 1, "users": entries}, file, indent=2)
        temporary.replace(self._path)
