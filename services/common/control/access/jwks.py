"""An issuer's public keys, fetched in the background.

A request never waits for the issuer: keys are kept while it is away, and a key id that
nobody knows only asks for a refresh, of which there is at most one in `pause_s`.
"""

import asyncio
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import orjson
import structlog

from services.common.clock import MonotonicClock
from services.common.control.access.signatures import VerifyingKey, public_key
from services.common.control.authentication import Refusal
from services.common.process import metrics
from services.common.process.egress import Egress

log = structlog.get_logger(__name__)

_MAX_BYTES = 256 * 1024
_MAX_KEYS = 64


class IssuerAwayError(Exception):
    """The issuer's keys could not be read; what is known stays."""


@dataclass
class JwksKeys:
    """The keys at an address, as they were last read.

    Read anew each `refresh_s`, and sooner where a key id is not known.
    """

    url: str
    algorithms: tuple[str, ...]
    monotonic: MonotonicClock
    refresh_s: float = 300.0
    pause_s: float = 10.0
    egress: Egress = field(default_factory=Egress)
    timeout_s: float = 5.0
    version: int = field(default=0, init=False)
    _keys: dict[str, VerifyingKey] = field(default_factory=dict, init=False)
    _known: object = field(default=None, init=False)
    _tried_at: float = field(default=float("-inf"), init=False)
    _wanted: asyncio.Event = field(default_factory=asyncio.Event, init=False)

    def find(self, key_id: str | None) -> VerifyingKey | Refusal:
        """The key of a key id; for none, the only key that there is.

        `ISSUER_KEYS` where the issuer is asked soon: the token may be good then.
        """
        if key_id is None:
            only = next(iter(self._keys.values())) if len(self._keys) == 1 else None
            return only or (Refusal.INVALID_TOKEN if self.version else self._ask())
        return self._keys.get(key_id) or self._ask()

    async def run(self) -> None:
        """Keeps the keys fresh, until cancelled."""
        async with self.session() as session:
            while True:
                await self.refresh(session)
                await asyncio.sleep(self.pause_s)
                with_keys = self.refresh_s - self.pause_s if self.version else 0.0
                await self._wait_until_wanted(max(0.0, with_keys))

    def session(self) -> aiohttp.ClientSession:
        """A client that reaches what `egress` allows and no more."""
        return aiohttp.ClientSession(
            connector=self.egress.connector(),
            timeout=aiohttp.ClientTimeout(total=self.timeout_s),
            cookie_jar=aiohttp.DummyCookieJar(),
        )

    async def refresh(self, session: aiohttp.ClientSession) -> None:
        """Reads the keys once; where that fails, what is known stays."""
        self._wanted.clear()
        try:
            found = await self._read(session)
        except IssuerAwayError as error:
            metrics.AUTH_ISSUER_READS.labels("failed").inc()
            log.warning("issuer_keys_not_read", url=self.url, error=str(error), known=len(self._keys))
        else:
            metrics.AUTH_ISSUER_READS.labels("read").inc()
            self._take(found)
        self._tried_at = self.monotonic()

    def _ask(self) -> Refusal:
        """Has the issuer asked, unless it was a moment ago."""
        if self.version and self.monotonic() - self._tried_at < self.pause_s:
            return Refusal.INVALID_TOKEN
        self._wanted.set()
        return Refusal.ISSUER_KEYS

    async def _wait_until_wanted(self, timeout_s: float) -> None:
        try:
            async with asyncio.timeout(timeout_s):
                await self._wanted.wait()
        except TimeoutError:
            pass

    async def _read(self, session: aiohttp.ClientSession) -> list[Any]:
        try:
            async with session.get(self.url, allow_redirects=False) as response:
                if response.status != 200:
                    raise IssuerAwayError(f"it answered {response.status}")
                body = await response.content.readexactly(_MAX_BYTES + 1)
        except asyncio.IncompleteReadError as whole:
            body = whole.partial
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            raise IssuerAwayError(repr(error)) from error
        if len(body) > _MAX_BYTES:
            raise IssuerAwayError(f"its answer is larger than {_MAX_BYTES} bytes")
        try:
            found = orjson.loads(body)
        except orjson.JSONDecodeError as error:
            raise IssuerAwayError("its answer is no JSON") from error
        keys = found.get("keys") if isinstance(found, dict) else None
        if not isinstance(keys, list):
            raise IssuerAwayError("its answer has no list `keys`")
        return keys

    def _take(self, found: list[Any]) -> None:
        """Replaces the keys; a set without any usable one is taken for a fault of the
        issuer's, and changes nothing.
        """
        if found == self._known:
            return
        keys: dict[str, VerifyingKey] = {}
        for number, jwk in enumerate(found[:_MAX_KEYS]):
            key = public_key(jwk, self.algorithms) if isinstance(jwk, dict) else None
            if key is not None:
                key_id = jwk.get("kid")
                keys[key_id if isinstance(key_id, str) else f"\0{number}"] = key
        if not keys:
            log.warning("issuer_keys_unusable", url=self.url, keys=len(found), algorithms=self.algorithms)
            return
        self._known, self._keys = found, keys
        self.version += 1
        log.info("issuer_keys_read", url=self.url, keys=len(keys), skipped=len(found) - len(keys))


@dataclass(frozen=True)
class SharedSecret:
    """The one key of an issuer that signs with a shared secret, whatever id it gives it."""

    key: VerifyingKey
    version: int = 1

    def find(self, _key_id: str | None) -> VerifyingKey | Refusal:
        """The key."""
        return self.key

    async def run(self) -> None:
        """There is nothing to be read."""
