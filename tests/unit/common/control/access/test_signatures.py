"""Which tokens' signatures and claims are good."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from joserfc.jwk import OctKey, RSAKey

from services.common.control.access.signatures import (
    Expected,
    VerifyingKey,
    public_key,
    shared_key,
    verified_claims,
)
from services.common.control.authentication import Refusal
from tests.support.issuer import AUDIENCE, ISSUER, SECRET, claims, jwk, private_key, sign

NOW_S = 1_800_000_000.0
EXPECTED = Expected(ISSUER, (AUDIENCE, "other"), leeway_s=30, max_lifetime_s=3600)
ALL = ("RS256", "ES256", "EdDSA")


def key_of(algorithm: str, number: int = 0) -> VerifyingKey:
    """What verifies this algorithm's tokens."""
    if algorithm == "HS256":
        return shared_key(SECRET)
    found = public_key(jwk(algorithm, number), ALL)
    assert found is not None
    return found


def read(token: str, algorithm: str = "RS256", now_s: float = NOW_S) -> dict[str, Any] | Refusal:
    """What comes of a token where the key is one of this algorithm."""
    return verified_claims(token, lambda _: key_of(algorithm), EXPECTED, now_s=now_s)


@pytest.mark.parametrize("algorithm", ["HS256", *ALL])
def test_token_of_the_configured_algorithm_is_good(algorithm: str) -> None:
    """Its claims come back as they were signed."""
    said = claims(NOW_S)
    assert read(sign(said, algorithm), algorithm) == said


@pytest.mark.parametrize("algorithm", ["HS256", *ALL])
@pytest.mark.parametrize("other", ["HS256", *ALL])
def test_token_signed_otherwise_than_the_key_wants_is_forged(algorithm: str, other: str) -> None:
    """Also where its header says that it was signed as wanted."""
    if other == algorithm:
        return
    honest = sign(claims(NOW_S), other)
    lying = sign(claims(NOW_S), other, header={"alg": algorithm})
    assert read(honest, algorithm) is Refusal.INVALID_TOKEN
    assert read(lying, algorithm) is Refusal.INVALID_TOKEN


@pytest.mark.parametrize("spelling", ["none", "None", "NONE", "", None, "HS512", 7, ["RS256"]])
def test_header_decides_no_algorithm(spelling: object) -> None:
    """Neither `none` nor another is taken from there."""
    whole = sign(claims(NOW_S), header={"alg": spelling})
    unsigned = whole.rpartition(".")[0] + "."
    assert read(whole) is Refusal.INVALID_TOKEN
    assert read(unsigned) is Refusal.INVALID_TOKEN


def test_token_by_the_newer_name_of_its_algorithm_is_good() -> None:
    """RFC 9864 calls Ed25519 what RFC 8037 called EdDSA: of that key only."""
    said = claims(NOW_S)
    assert read(sign(said, "EdDSA", header={"alg": "Ed25519"}), "EdDSA") == said
    for algorithm in ("HS256", "RS256", "ES256"):
        assert read(sign(said, "EdDSA", header={"alg": "Ed25519"}), algorithm) is Refusal.INVALID_TOKEN


@pytest.mark.parametrize("form", ["pem", "der"])
def test_public_key_as_an_hmac_secret_signs_nothing(form: str) -> None:
    """The confusion of CVE-2015-9235: who has the public key could sign otherwise."""
    public = private_key("RS256")
    assert isinstance(public, RSAKey)
    secret = public.as_pem(private=False) if form == "pem" else public.as_der(private=False)
    attacker = OctKey(secret, secret)
    for header in ({}, {"alg": "RS256"}):
        assert read(sign(claims(NOW_S), "HS256", key=attacker, header=header)) is Refusal.INVALID_TOKEN
    with pytest.raises(ValueError, match="public key"):
        shared_key(secret)


@pytest.mark.parametrize(
    ("changed", "refusal"),
    [
        ({"exp": int(NOW_S) - 31}, Refusal.TOKEN_EXPIRED),
        ({"exp": int(NOW_S) - 29}, None),
        ({"exp": None}, Refusal.CLAIMS),
        ({"exp": "soon"}, Refusal.CLAIMS),
        ({"exp": True}, Refusal.CLAIMS),
        ({"exp": float("nan")}, Refusal.CLAIMS),
        ({"exp": float("inf")}, Refusal.CLAIMS),
        ({"exp": 10**400}, Refusal.TOO_LONG),
        ({"exp": int(NOW_S) + 3631}, Refusal.TOO_LONG),
        ({"exp": int(NOW_S) + 3630}, None),
        ({"nbf": int(NOW_S) + 31}, Refusal.TOKEN_NOT_YET_VALID),
        ({"nbf": int(NOW_S) + 29}, None),
        ({"nbf": "never"}, Refusal.TOKEN_NOT_YET_VALID),
        ({"iat": int(NOW_S) + 31}, Refusal.TOKEN_NOT_YET_VALID),
        ({"iat": None}, None),
        ({"iss": "https://issuer.example/realms/acme/"}, Refusal.ISSUER),
        ({"iss": [ISSUER]}, Refusal.ISSUER),
        ({"iss": None}, Refusal.ISSUER),
        ({"aud": "another"}, Refusal.AUDIENCE),
        ({"aud": ["another", "other"]}, None),
        ({"aud": []}, Refusal.AUDIENCE),
        ({"aud": {AUDIENCE: 1}}, Refusal.AUDIENCE),
        ({"aud": None}, Refusal.AUDIENCE),
    ],
)
def test_claims_are_good_as_configured(changed: dict[str, Any], refusal: Refusal | None) -> None:
    """Issuer, audience and times, with the leeway."""
    said = claims(NOW_S, **changed)
    assert read(sign(said)) == (refusal or said)


@pytest.mark.parametrize("payload", [b"", b"[]", b"7", b"{", b"[" * 5000, b"\xff"])
def test_payload_that_is_no_object_is_forged(payload: bytes) -> None:
    """However well it is signed."""
    assert read(sign(payload)) is Refusal.INVALID_TOKEN


@pytest.mark.parametrize(
    "header",
    [{"kid": 7}, {"kid": ["rsa-0"]}, {"crit": ["exp"]}, {"crit": []}, {"b64": False, "crit": ["b64"]}],
)
def test_header_that_asks_for_more_than_is_served_is_forged(header: dict[str, Any]) -> None:
    """What is critical to the issuer is not passed over."""
    assert read(sign(claims(NOW_S), header=header)) is Refusal.INVALID_TOKEN


def test_token_with_any_part_changed_is_forged() -> None:
    """One character is enough, and so is what is longer than tokens are."""
    token = sign(claims(NOW_S), "ES256")
    for at in range(0, len(token) - 2, 7):
        changed = token[:at] + ("A" if token[at] != "A" else "B") + token[at + 1 :]
        assert read(changed, "ES256") is Refusal.INVALID_TOKEN
    assert read(sign(claims(NOW_S, more="x" * 20_000))) is Refusal.INVALID_TOKEN


@given(st.text(max_size=60) | st.lists(st.text('ABCabc019-_{}"', max_size=12), max_size=4).map(".".join))
def test_whatever_is_sent_is_forged_and_breaks_nothing(token: str) -> None:
    """Also with parts that are missing, empty or no base64."""
    assert read(token) is Refusal.INVALID_TOKEN


@pytest.mark.parametrize(
    "changed",
    [
        {"kty": "oct", "k": "c2VjcmV0"},
        {"kty": "EC", "crv": "P-256"},
        {"kty": None},
        {"kty": []},
        {"use": "enc"},
        {"alg": "RS512"},
        {"n": "AQAB"},
        {"n": "!!"},
        {"e": None},
        {"n": 7},
    ],
)
def test_key_of_a_set_that_does_not_serve_is_none(changed: dict[str, Any]) -> None:
    """Too weak, of another kind, for encryption, malformed: it is passed over."""
    assert public_key(jwk("RS256") | changed, ALL) is None


def test_key_is_taken_only_where_its_algorithm_is_configured() -> None:
    """An issuer that adds keys of another kind gets no further."""
    assert public_key(jwk("ES256"), ("RS256",)) is None
    assert public_key(jwk("EdDSA") | {"crv": "X25519"}, ALL) is None
    assert public_key(jwk("EdDSA") | {"alg": "Ed25519"}, ALL) is not None
    assert public_key(jwk("ES256") | {"x": "AAAA"}, ALL) is None


@pytest.mark.parametrize("secret", [b"", b"x" * 31])
def test_short_secret_is_refused(secret: bytes) -> None:
    """HS256's wants 32 bytes."""
    with pytest.raises(ValueError, match="32"):
        shared_key(secret)
