"""What callers are told, by what the control topic says."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import timedelta

import pytest

from schemas.control import KeyChanged, Scope
from services.common.bus import Record
from services.common.control.access.claims import ClaimMapping
from services.common.control.access.exchange import TokenExchange
from services.common.control.access.jwks import JwksKeys
from services.common.control.access.signatures import Expected
from services.common.control.access.tokens import Issuer, TokenChecker
from services.common.control.authentication import KeyChecker
from services.common.control.reader import ControlReader
from services.common.http.authentication import Authenticator
from services.common.http.problems import ProblemError
from services.common.process import metrics
from services.common.process.health import HealthState
from tests.support.bus.records import record
from tests.support.issuer import AUDIENCE, ISSUER, claims, sign
from tests.unit.common.control.entries import NOW, PEPPER, record_of, signed_key, tenant


@dataclass
class FakeTail:
    """Hands out what the control topic holds, record by record."""

    records: list[Record] = field(default_factory=list)

    async def start(self, *_: object) -> None:
        """Nothing to connect to."""

    async def read_to_end(self, **_: object) -> AsyncIterator[list[Record]]:
        for one in self.records:
            yield [one]


def authenticator_of(*values: tuple[str, bytes | None]) -> Authenticator:
    """An authenticator that has read these records."""
    health = HealthState()
    reader = ControlReader("", "test", health)
    reader.tail = FakeTail(
        [record(value, key=key.encode(), offset=at) for at, (key, value) in enumerate(values)]
    )  # type: ignore[assignment]
    asyncio.run(reader.start())
    assert health.dependencies["control"].ok
    return Authenticator(reader, KeyChecker(PEPPER), TokenChecker(TokenExchange(PEPPER)))


def refused(
    authenticator: Authenticator, clear: str, scope: Scope = Scope.INFER, **times: float
) -> tuple[int, str]:
    """The status and message with which a key is refused; 0 where it is good."""
    try:
        authenticator.authenticate(f"Bearer {clear}", scope, now=NOW + timedelta(**times))
    except ProblemError as error:
        return error.problem.status, error.problem.message
    return 0, ""


def test_key_is_good_for_its_scopes_until_it_ends() -> None:
    """200, 403, 401, each with its reason."""
    clear, key = signed_key(expires_at=NOW + timedelta(hours=1))
    authenticator = authenticator_of(record_of(tenant()), record_of(key))
    assert refused(authenticator, clear) == (0, "")
    assert refused(authenticator, clear, Scope.ADMIN) == (
        403,
        "The API key or token lacks the scope 'admin'.",
    )
    assert refused(authenticator, clear, hours=1) == (401, "The API key has expired.")
    assert refused(authenticator, clear[:-1] + ("A" if clear[-1] != "A" else "B"))[0] == 401
    gone = authenticator_of(record_of(tenant()), record_of(key), (f"key:{key.key_id}", None))
    assert refused(gone, clear)[0] == 401


@pytest.mark.parametrize(
    "update", [{"scopes": tuple(Scope)}, {"record_mac": ""}, {"version": 0, "record_mac": ""}]
)
def test_key_that_was_not_signed_is_401_that_says_what_to_do(update: dict[str, object]) -> None:
    """Edited on the bus, or from before records were signed."""
    clear, key = signed_key()
    edited = key.model_copy(update=update)
    status, message = refused(authenticator_of(record_of(tenant()), record_of(edited)), clear)
    assert (status, "tocsin doctor" in message) == (401, True)


@pytest.mark.parametrize(
    "value", [b'{"kind":"planet","id":"acme"}', b'{"kind":"tenant"}', b"\xff", b'{"kind":7}', b"{}"]
)
def test_record_of_a_newer_version_is_counted_and_skipped(value: bytes) -> None:
    """A rolling upgrade writes other kinds onto the control topic: the keys around them
    are read.
    """
    clear, key = signed_key()
    whys = ("unknown_kind", "unreadable", "stale")
    counts = [metrics.BUS_SKIPPED.labels("control.changes.v1", why)._value for why in whys]
    before = sum(one.get() for one in counts)
    authenticator = authenticator_of(
        ("planet:acme", value), record_of(tenant()), record_of(key), ("tenant:acme", value)
    )
    assert refused(authenticator, clear) == (0, "")
    assert sum(one.get() for one in counts) == before + 2


@pytest.mark.parametrize("header", [None, "", "Bearer", "Bearer ", "Basic x", "Bearer tsn_x", "Bearer \x00"])
def test_malformed_authorization_is_401(header: str | None) -> None:
    """Whatever is sent instead of a key."""
    with pytest.raises(ProblemError) as caught:
        authenticator_of().authenticate(header, Scope.INFER, now=NOW)
    assert caught.value.problem.status == 401


def test_nobody_is_let_in_before_the_keys_are_read() -> None:
    """503, so that a client tries again."""
    clear, key = signed_key()
    assert isinstance(key, KeyChanged)
    unread = Authenticator(ControlReader("", "test"), KeyChecker(PEPPER), TokenChecker(TokenExchange(PEPPER)))
    assert refused(unread, clear)[0] == 503


def guess(authenticator: Authenticator, clear: str, address: str, *, at_s: float = 0.0) -> int:
    """The status that a bearer from an address gets; 0 where it is let in."""
    try:
        authenticator.authenticate(
            f"Bearer {clear}", Scope.INFER, now=NOW + timedelta(seconds=at_s), address=lambda: address
        )
    except ProblemError as error:
        return error.problem.status
    return 0


WRONG_TOKEN = "eyJhbGciOiJIUzI1NiJ9.e30.c2lnbmF0dXJl"


@pytest.mark.parametrize("wrong", ["tsn_zzzzzzzz_" + "x" * 43, "tsn_", "sk-something", WRONG_TOKEN])
def test_address_that_keeps_guessing_is_slowed_and_its_good_keys_get_in(wrong: str) -> None:
    """Keys that nobody knows, what is no key, forged tokens: all count."""
    clear, key = signed_key()
    authenticator = authenticator_of(record_of(tenant()), record_of(key))
    statuses = [guess(authenticator, wrong, "192.0.2.1") for _ in range(7)]
    assert statuses == [401] * 5 + [429] * 2
    assert guess(authenticator, clear, "192.0.2.1") == 0
    assert guess(authenticator, wrong, "192.0.2.1", at_s=3600) == 401


@pytest.mark.parametrize("known", [True, False])
def test_key_that_is_guessed_at_from_many_addresses_is_slowed_whether_or_not_it_exists(known: bool) -> None:  # noqa: FBT001
    """And its owner gets in all the while: a stranger cannot lock a key."""
    clear, key = signed_key()
    authenticator = authenticator_of(record_of(tenant()), record_of(key))
    key_id = key.key_id if known else "zzzzzzzz"
    statuses = [
        guess(authenticator, f"tsn_{key_id}_{number:043d}", f"192.0.2.{number}") for number in range(8)
    ]
    assert statuses == [401] * 5 + [429] * 3
    assert guess(authenticator, clear, "192.0.2.77") == 0
    assert guess(authenticator, "tsn_yyyyyyyy_" + "x" * 43, "192.0.2.77") == 401


def test_what_once_was_good_is_no_guess() -> None:
    """A forgotten script with an expired key slows nobody; nor does a missing header."""
    clear, key = signed_key(expires_at=NOW)
    authenticator = authenticator_of(record_of(tenant()), record_of(key))
    assert [guess(authenticator, clear, "192.0.2.1") for _ in range(9)] == [401] * 9
    for _ in range(9):
        with pytest.raises(ProblemError) as caught:
            authenticator.authenticate(None, Scope.INFER, now=NOW, address=lambda: "192.0.2.1")
        assert caught.value.problem.status == 401


def test_token_that_cannot_be_judged_yet_is_no_guess() -> None:
    """While the provider's keys are not read, everybody is told to come back, however
    often they ask.
    """
    authenticator = authenticator_of(record_of(tenant()))
    keys = JwksKeys("https://issuer.example/jwks", ("ES256",), lambda: 0.0)
    mapping = ClaimMapping(tenant="tenant", fixed_tenant="", user="sub", scopes="scope")
    issuer = Issuer(Expected(ISSUER, (AUDIENCE,), 30, 3600), mapping, keys)
    authenticator.tokens = TokenChecker(TokenExchange(PEPPER), issuer)
    token = sign(claims(NOW.timestamp()), "ES256")
    assert [guess(authenticator, token, "192.0.2.1") for _ in range(9)] == [503] * 9


def test_throttle_that_millions_fill_stays_small() -> None:
    """Addresses and key ids are whatever a stranger sends."""
    throttle = authenticator_of().throttle
    for number in range(10_000):
        throttle.guessed(address=f"a{number}", key_id=f"k{number}", now_s=0.0)
    assert len(throttle.by_address._failures) == len(throttle.by_key._failures) == 4096


def test_token_is_made_for_a_key_no_longer_than_the_key_lasts() -> None:
    """And none for a token: `with_token` off lets only keys in."""
    clear, key = signed_key(expires_at=NOW + timedelta(seconds=60))
    authenticator = authenticator_of(record_of(tenant()), record_of(key))
    now_s = int(NOW.timestamp())
    token, until_s = authenticator.exchanged(clear, key.scopes, now_s=now_s, until_s=now_s + 600, jti="j")
    assert until_s == now_s + 60
    assert guess(authenticator, token, "192.0.2.1") == 0
    with pytest.raises(ProblemError) as caught:
        authenticator.authenticate(f"Bearer {token}", None, now=NOW, with_token=False)
    assert caught.value.problem.status == 401
