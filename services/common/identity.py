"""Who calls: API keys and pseudonyms. Pure; secrets, time and randomness are arguments.

A key reads `tsn_<8 character id>_<43 character secret>`. Only `HMAC-SHA256(pepper,
secret)` is kept, so neither the topic nor a dump of it opens a door. A second HMAC
binds the whole record (tenant, scopes, models, expiry ...), so that an edit of it on
the bus opens none either. Changing a key signs it anew; that needs no secret.
"""

import base64
import hashlib
import hmac
import json
import re
import secrets
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime

from schemas.control import KeyChanged, Scope

RandomBytes = Callable[[int], bytes]

_KEY = re.compile(r"tsn_([0-9a-z]{8})_([0-9A-Za-z_-]{43})", re.ASCII)
_TENANT = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}", re.ASCII)
_PSEUDONYM = re.compile(r"[un]_[0-9a-f]{32}", re.ASCII)
_MOST_USER_CHARS = 128
_DOTS = frozenset({".", ".."})
"""What no part of a path can be: clients would send another path."""
_NEVER_ROTATED = datetime.max.replace(tzinfo=UTC)
_ID_ALPHABET = "0123456789abcdefghijklmnopqrstuvwxyz"


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A key as a client sends it, taken apart. Its secret never shows in a log."""

    key_id: str
    secret: str

    def __repr__(self) -> str:
        return f"ApiKey({self.key_id}, ...)"


def is_tenant_id(tenant: str) -> bool:
    """Whether a tenant can be called so: by up to 64 lower-case letters, digits, dots,
    hyphens and underscores, the first a letter or digit.
    """
    return _TENANT.fullmatch(tenant) is not None


def is_user_id(user: str) -> bool:
    """Whether a user can be called so, whoever names them, an administrator or an
    identity provider: by 1 to 128 printable characters that are one part of a path.
    """
    return 0 < len(user) <= _MOST_USER_CHARS and user.isprintable() and "/" not in user and user not in _DOTS


def parse_key(clear: str) -> ApiKey | None:
    """The parts of a key; None where the text is no key."""
    found = _KEY.fullmatch(clear)
    return ApiKey(found[1], found[2]) if found else None


def secret_hmac(pepper: str, secret: str) -> str:
    """What is kept of a secret: HMAC-SHA256 under the server's pepper, in hex."""
    return hmac.digest(pepper.encode(), secret.encode(), "sha256").hex()


def secret_good_until(key: KeyChanged, secret: str, *, pepper: str) -> datetime | None:
    """Until when a secret opens a key, as far as rotations decide that; None where it
    is not this key's. Compared in constant time.
    """
    sent = secret_hmac(pepper, secret)
    is_present = hmac.compare_digest(key.secret_hmac, sent)
    is_previous = hmac.compare_digest(key.previous_secret_hmac, sent)
    if is_present:
        return _NEVER_ROTATED
    return key.previous_secret_until if is_previous else None


def sign_key(key: KeyChanged, *, pepper: str) -> KeyChanged:
    """The same record with its MAC."""
    return key.model_copy(update={"record_mac": _record_mac(key, pepper)})


def is_signed(key: KeyChanged, *, pepper: str) -> bool:
    """Whether a record is as somebody with this pepper wrote it."""
    return hmac.compare_digest(key.record_mac, _record_mac(key, pepper))


def _record_mac(key: KeyChanged, pepper: str) -> str:
    """Fields at their defaults are left out, so that a field which a later version adds
    breaks no older record. Where it is used, older versions refuse the key.
    """
    bound = key.model_dump(mode="json", exclude={"record_mac"}, exclude_defaults=True)
    text = json.dumps(bound, sort_keys=True, separators=(",", ":"))
    return hmac.digest(pepper.encode(), b"tocsin.control.key\0" + text.encode(), "sha256").hex()


def create_key(
    *,
    pepper: str,
    name: str,
    tenant: str,
    now: datetime,
    user: str = "",
    scopes: Iterable[Scope] = (Scope.INFER, Scope.FEEDBACK),
    models: Iterable[str] = (),
    expires_at: datetime | None = None,
    random_bytes: RandomBytes = secrets.token_bytes,
) -> tuple[str, KeyChanged]:
    """A new key: what the client is shown once, and what everyone else may know.

    The record is signed when it is written.
    """
    key_id = "".join(_ID_ALPHABET[byte % len(_ID_ALPHABET)] for byte in random_bytes(8))
    clear, kept = create_secret(key_id, pepper=pepper, random_bytes=random_bytes)
    record = KeyChanged(
        key_id=key_id,
        secret_hmac=kept,
        name=name,
        tenant=tenant,
        user=user,
        scopes=tuple(scopes),
        models=tuple(models),
        created_at=now,
        expires_at=expires_at,
    )
    return clear, record


def create_secret(
    key_id: str, *, pepper: str, random_bytes: RandomBytes = secrets.token_bytes
) -> tuple[str, str]:
    """A key with a new secret: what the client is shown once, and what is kept of it."""
    secret = _base64url(random_bytes(32))
    return f"tsn_{key_id}_{secret}", secret_hmac(pepper, secret)


def pseudonym(key: str, *, tenant: str, user: str) -> str:
    """A user under another name: the same within a tenant, not to be turned back
    without `key`. Empty stays empty.
    """
    if not user:
        return ""
    return "u_" + _user_digest(key, tenant, user)


def pseudonym_of_named(key: str, *, tenant: str, user: str) -> str:
    """The same for a user whom only a client named: never that of a user who was shown
    to call, though it ends in the same 32 digits where both have one name.
    """
    return "n_" + _user_digest(key, tenant, user) if user else ""


def pseudonyms(key: str, *, tenant: str, user: str) -> tuple[str, str]:
    """Both: of the user who calls, and of the one whom callers name."""
    return pseudonym(key, tenant=tenant, user=user), pseudonym_of_named(key, tenant=tenant, user=user)


def is_pseudonym(user: str) -> bool:
    """Whether a text is of the form that pseudonyms have."""
    return _PSEUDONYM.fullmatch(user) is not None


def _user_digest(key: str, tenant: str, user: str) -> str:
    return hmac.digest(key.encode(), f"{tenant}\0{user}".encode(), hashlib.sha256).hex()[:32]


def _base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
