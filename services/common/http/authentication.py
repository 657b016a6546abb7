"""Lets callers in by the control state, or says why not in the API's terms."""

import asyncio
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from starlette.requests import Request

from schemas.control import KeyChanged, Scope
from schemas.errors import ErrorCode
from services.common.control.access.key_uses import KeyUses
from services.common.control.access.throttle import GuessThrottle
from services.common.control.access.tokens import TokenChecker
from services.common.control.authentication import KeyChecker, Refusal
from services.common.control.principal import Principal
from services.common.control.reader import ControlReader
from services.common.http.forwarding import Network, client_network, client_of
from services.common.http.problems import (
    NO_RETRY,
    Problem,
    ProblemError,
    forbidden,
    retry_after,
    unauthenticated,
    unavailable,
)
from services.common.identity import parse_key, secret_good_until, secret_hmac
from services.common.process import metrics

_HOW = "Send 'Authorization: Bearer tsn_...'; `tocsin keys create` makes a key."
_MESSAGES = {
    Refusal.MALFORMED: f"There is no API key in the request, or it is malformed. {_HOW}",
    Refusal.UNKNOWN: f"The API key is not known. {_HOW}",
    Refusal.UNSIGNED: "The API key's record was not written by this installation's administrator; it needs "
    "to be replaced: `tocsin doctor` shows which.",
    Refusal.REVOKED: "The API key was revoked.",
    Refusal.EXPIRED: "The API key has expired.",
    Refusal.ROTATED: "The API key was rotated and this former secret has ended; send the new one.",
    Refusal.SUSPENDED: "The caller's tenant or user is unknown, or was suspended or deleted.",
    Refusal.INVALID_TOKEN: "The token is malformed, or signed neither here nor by the identity provider.",
    Refusal.AUDIENCE: "The token is not for this service: its `aud` names another, or none.",
    Refusal.ISSUER: "The token is of another issuer: its `iss` is not TOCSIN_JWT_ISSUER.",
    Refusal.TOKEN_EXPIRED: "The token has expired.",
    Refusal.TOKEN_NOT_YET_VALID: "The token is not good yet: its `nbf` or `iat` lies in the future.",
    Refusal.TOO_LONG: "The token lasts longer than TOCSIN_JWT_MAX_LIFETIME_S allows.",
    Refusal.CLAIMS: "The token lacks claims that it needs, such as `exp`, or they are malformed.",
    Refusal.TENANT: "The token names no tenant; TOCSIN_JWT_TENANT_CLAIM says where it should.",
    Refusal.USER: "The token names no user, or by other than 1 to 128 printable characters without '/'; "
    "TOCSIN_JWT_USER_CLAIM says where it should.",
    Refusal.KEY_CHANGED: "The API key that the token stands for has another secret by now, or is gone.",
}
_GUESSES = frozenset(Refusal) - {
    Refusal.UNSIGNED,
    Refusal.REVOKED,
    Refusal.EXPIRED,
    Refusal.ROTATED,
    Refusal.SUSPENDED,
    Refusal.SCOPE,
    Refusal.TOKEN_EXPIRED,
    Refusal.TOKEN_NOT_YET_VALID,
    Refusal.KEY_CHANGED,
    Refusal.ISSUER_KEYS,
}
"""Refusals that somebody who guesses would get, so they slow down who gets them. The rest
need a key or token that once was good, will be, or cannot be judged yet.
"""


def _nobody() -> str:
    return ""


@dataclass
class Authenticator:
    """Checks keys and tokens; nobody is let in before the control state is read.

    Whoever guesses is slowed, by address and by key. `trusted` are the networks of the
    proxies that tell an address truly; `uses` hears of who is let in.
    """

    control: ControlReader
    checker: KeyChecker
    tokens: TokenChecker
    trusted: Sequence[Network] = ()
    uses: KeyUses | None = None
    throttle: GuessThrottle = field(default_factory=GuessThrottle)

    def find(self, key_id: str) -> KeyChanged | None:
        """A key by its public part, good or not."""
        return self.control.state.keys.get(key_id)

    def caller(self, request: Request, scope: Scope | None, *, now: datetime) -> Principal:
        """Whom a request's Authorization header stands for, if it is good for `scope`.

        Raises:
            ProblemError: as for `authenticate`.
        """
        return self.authenticate(
            request.headers.get("authorization"), scope, now=now, address=lambda: self.address_of(request)
        )

    def address_of(self, request: Request) -> str:
        """What counts as one client, for slowing it."""
        return client_network(client_of(request.scope, self.trusted))

    def authenticate(
        self,
        authorization: str | None,
        scope: Scope | None,
        *,
        now: datetime,
        address: Callable[[], str] = _nobody,
        with_token: bool = True,
    ) -> Principal:
        """Whom an Authorization header stands for, if it is good for `scope`, or for
        any. Without `with_token` only an API key counts.

        Raises:
            ProblemError: 401, nobody knows it, or it is good no more; 403, it lacks the
                scope; 429 instead of 401 for a guess, where too many were made; 503, the
                keys are not read yet.
        """
        self._require_caught_up()
        state = self.control.state
        token = _token_in(authorization) if with_token else None
        checked = (
            self.checker.check(state, authorization, scope, now=now)
            if token is None
            else self.tokens.check(state, token, scope, now=now)
        )
        if isinstance(checked, Refusal):
            raise self._problem(checked, scope, authorization, address, now)
        if self.uses is not None:
            self.uses.note(checked, now)
        return checked

    def recheck(self, key_id: str, scope: Scope | None, *, now: datetime) -> Principal:
        """Whose key this is whose secret was shown earlier, if it is good for `scope`,
        or for any, still.

        Raises:
            ProblemError: as for `authenticate`.
        """
        self._require_caught_up()
        checked = self.checker.recheck(self.control.state, key_id, scope, now=now)
        if isinstance(checked, Refusal):
            metrics.AUTH_REFUSED.labels(checked).inc()
            raise _refused(checked, scope)
        if self.uses is not None:
            self.uses.note(checked, now)
        return checked

    def exchanged(
        self, clear: str, scopes: Collection[Scope], *, now_s: int, until_s: int, jti: str
    ) -> tuple[str, int]:
        """A token that stands for a key which was let in just now, and until when it is
        good: `until_s`, or the key's end if that is sooner (Unix seconds).

        Raises:
            ProblemError: 401, there is no such key.
        """
        sent = parse_key(clear)
        key = self.find(sent.key_id) if sent else None
        if sent is None or key is None:
            raise _refused(Refusal.UNKNOWN, None)
        hashed = secret_hmac(self.checker.pepper, sent.secret)
        secret_until = secret_good_until(key, sent.secret, pepper=self.checker.pepper)
        ends = [end for end in (key.expires_at, key.revoked_at, secret_until) if end is not None]
        until_s = min(until_s, *(int(end.timestamp()) for end in ends))
        token = self.tokens.exchange.token(key, hashed, scopes, now_s=now_s, until_s=until_s, jti=jti)
        return token, until_s

    async def run(self) -> None:
        """Keeps the identity provider's keys fresh, and tells of the uses of ours, until
        cancelled.
        """
        async with asyncio.TaskGroup() as tasks:
            if self.tokens.issuer is not None:
                tasks.create_task(self.tokens.issuer.keys.run())
            if self.uses is not None:
                tasks.create_task(self.uses.run())

    def _require_caught_up(self) -> None:
        if not self.control.caught_up:
            raise unavailable("The keys are not read yet. Try again.", code=ErrorCode.STARTING)

    def _problem(
        self,
        refusal: Refusal,
        scope: Scope | None,
        authorization: str | None,
        address: Callable[[], str],
        now: datetime,
    ) -> ProblemError:
        metrics.AUTH_REFUSED.labels(refusal).inc()
        if refusal in _GUESSES and authorization:
            wait_s = self.throttle.guessed(
                address=address(), key_id=_key_id_in(authorization), now_s=now.timestamp()
            )
            if wait_s > 0:
                metrics.AUTH_SLOWED.inc()
                return _too_many_guesses(wait_s)
        return _refused(refusal, scope)


def _token_in(authorization: str | None) -> str | None:
    """The bearer token of a header; None where it may be an API key, which has no dots."""
    if authorization is None or authorization.count(".") != 2:
        return None
    scheme, _, token = authorization.partition(" ")
    return token.strip() if scheme.lower() == "bearer" else None


def _key_id_in(authorization: str) -> str:
    sent = parse_key(authorization.partition(" ")[2].strip())
    return sent.key_id if sent else ""


def _refused(refusal: Refusal, scope: Scope | None) -> ProblemError:
    if refusal is Refusal.SCOPE and scope is not None:
        return forbidden(f"The API key or token lacks the scope {scope.value!r}.")
    if refusal is Refusal.ISSUER_KEYS:
        return unavailable("The identity provider's keys are being read. Try again.", code=ErrorCode.STARTING)
    return unauthenticated(_MESSAGES[refusal])


def _too_many_guesses(wait_s: float) -> ProblemError:
    retry_after_s = int(wait_s) + 1
    return ProblemError(
        Problem(
            429,
            ErrorCode.RATE_LIMIT_EXCEEDED,
            "The API key or token is not known, and neither were many before it from this address or for "
            f"this key: wait {retry_after_s} s.",
            headers=(*retry_after(retry_after_s), *NO_RETRY),
        )
    )
