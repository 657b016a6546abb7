"""Whom tokens let in, by the control state."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import pytest

from schemas.control import KeyChanged, Scope, UserChanged
from services.common.control.access.claims import ClaimMapping, bearer_of, claim_at
from services.common.control.access.exchange import TokenExchange
from services.common.control.access.signatures import Expected, VerifyingKey, public_key
from services.common.control.access.tokens import Issuer, TokenChecker
from services.common.control.authentication import Refusal
from services.common.control.principal import Principal
from services.common.control.state import ControlRecord, ControlState, fold
from services.common.identity import parse_key, secret_hmac, sign_key
from tests.support.issuer import AUDIENCE, ISSUER, claims, jwk, sign
from tests.unit.common.control.entries import NOW, PEPPER, record_of, signed_key, state_of, tenant

NOW_S = NOW.timestamp()
MAPPING = ClaimMapping(tenant="tenant", fixed_tenant="", user="sub", scopes="scope")
CLEAR, KEY = signed_key(user="jo", scopes=(Scope.INFER, Scope.READ), models=("m",))


@dataclass
class FakeKeys:
    """An issuer's keys that change when the test says so."""

    key: VerifyingKey | None = field(default_factory=lambda: public_key(jwk("ES256"), ("ES256",)))
    version: int = 1
    asked: int = 0

    def find(self, _key_id: str | None) -> VerifyingKey | Refusal:
        self.asked += 1
        return self.key or Refusal.ISSUER_KEYS

    async def run(self) -> None:
        """Nothing to be read."""


def checker_of(keys: FakeKeys | None = None, mapping: ClaimMapping = MAPPING) -> TokenChecker:
    """A checker with an issuer."""
    issuer = Issuer(Expected(ISSUER, (AUDIENCE,), 30, 3600), mapping, keys or FakeKeys())
    return TokenChecker(TokenExchange(PEPPER), issuer)


def issued(**more: Any) -> str:
    """A token of the issuer's, from now on."""
    return sign(claims(NOW_S, **more), "ES256")


def user(scopes: tuple[Scope, ...], **fields: Any) -> UserChanged:
    """Jo, as entered."""
    return UserChanged(**({"tenant": "acme", "user": "jo", "created_at": NOW, "scopes": scopes} | fields))


def exchanged(key: KeyChanged, scopes: tuple[Scope, ...], *, clear: str = CLEAR, lasts_s: int = 600) -> str:
    """A token for a key."""
    sent = parse_key(clear)
    assert sent is not None
    return TokenExchange(PEPPER).token(
        key,
        secret_hmac(PEPPER, sent.secret),
        scopes,
        now_s=int(NOW_S),
        until_s=int(NOW_S) + lasts_s,
        jti="j",
    )


def scopes_of(checked: object) -> set[str]:
    """What a caller who was let in may do."""
    assert isinstance(checked, Principal), checked
    return {scope.value for scope in checked.scopes}


def test_issuers_token_gives_what_its_claims_say_and_the_users_entry_allows() -> None:
    """Neither more than the one nor than the other; a user whom nobody entered may do
    little.
    """
    token = issued(scope="infer read admin platform unheard-of")
    expected = {
        (): {"infer"},
        (user((Scope.READ, Scope.FEEDBACK)),): {"read"},
        (user(tuple(Scope)),): {"infer", "read", "admin", "platform"},
    }
    for entries, scopes in expected.items():
        checked = checker_of().check(state_of(tenant(), *entries), token, None, now=NOW)
        assert scopes_of(checked) == scopes
        assert isinstance(checked, Principal)
        assert (checked.tenant, checked.user, checked.key_id) == ("acme", "jo", "")
    assert checker_of().check(state_of(tenant()), token, Scope.ADMIN, now=NOW) is Refusal.SCOPE


def test_known_token_is_verified_once_until_something_changes() -> None:
    """Its tenant, its user, the issuer's keys, its time."""
    keys, state = FakeKeys(), state_of(tenant())
    checker, token = checker_of(keys), issued()

    def outcome(now: datetime = NOW) -> object:
        return checker.check(state, token, Scope.INFER, now=now)

    first = outcome()
    assert outcome() is first
    state = fold(state, [record_of(tenant("unrelated"))])
    assert (outcome(), keys.asked) == (first, 1)
    state = fold(state, [record_of(user((Scope.READ,), version=1))])
    assert (outcome(), keys.asked) == (Refusal.SCOPE, 2)
    state = fold(state, [record_of(user((Scope.INFER,), version=2))])
    assert scopes_of(outcome()) == {"infer"}
    keys.version = 2
    assert (scopes_of(outcome()), keys.asked) == ({"infer"}, 4)
    keys.key, keys.version = public_key(jwk("ES256", 1), ("ES256",)), 3
    assert outcome() is Refusal.INVALID_TOKEN
    keys.key, keys.version = public_key(jwk("ES256"), ("ES256",)), 4
    assert scopes_of(outcome()) == {"infer"}
    assert outcome(NOW + timedelta(seconds=329)) is not Refusal.TOKEN_EXPIRED
    assert outcome(NOW + timedelta(seconds=330)) is Refusal.TOKEN_EXPIRED


@pytest.mark.parametrize(
    "shut",
    [
        tenant(version=2, suspended_at=NOW),
        tenant(version=2, deleted_at=NOW),
        user((Scope.INFER,), suspended_at=NOW),
        user((Scope.INFER,), deleted_at=NOW),
    ],
)
def test_token_is_shut_with_its_tenant_or_user_at_once(shut: Any) -> None:
    """Also one that was let in a moment ago; an exchanged one too."""
    checker, state = checker_of(), state_of(tenant(), KEY)
    tokens = (issued(), exchanged(KEY, KEY.scopes))
    for token in tokens:
        assert scopes_of(checker.check(state, token, Scope.INFER, now=NOW))
    state = fold(state, [record_of(shut)])
    for token in tokens:
        assert checker.check(state, token, Scope.INFER, now=NOW) is Refusal.SUSPENDED


@pytest.mark.parametrize(
    ("more", "refusal"),
    [
        ({"tenant": "nobody"}, Refusal.SUSPENDED),
        ({"tenant": None}, Refusal.TENANT),
        ({"tenant": "ACME"}, Refusal.TENANT),
        ({"tenant": ["acme", "globex"]}, Refusal.TENANT),
        ({"tenant": {"acme": 1}}, Refusal.TENANT),
        ({"sub": None}, Refusal.USER),
        ({"sub": "acme/jo"}, Refusal.USER),
        ({"sub": "j\no"}, Refusal.USER),
        ({"sub": "\ud800"}, Refusal.USER),
        ({"sub": ".."}, Refusal.USER),
        ({"sub": "."}, Refusal.USER),
        ({"sub": "\u202ejo"}, Refusal.USER),
        ({"sub": "j\u200bo"}, Refusal.USER),
        ({"sub": "jo\x85"}, Refusal.USER),
        ({"sub": "j" * 129}, Refusal.USER),
        ({"sub": ""}, Refusal.USER),
        ({"scope": None}, Refusal.SCOPE),
        ({"scope": {"infer": True}}, Refusal.SCOPE),
        ({"scope": "INFER"}, Refusal.SCOPE),
    ],
)
def test_token_that_names_nobody_here_is_refused(more: dict[str, Any], refusal: Refusal) -> None:
    """Tenant, user and scopes must be plain."""
    checked = checker_of().check(state_of(tenant(), tenant("globex")), issued(**more), Scope.INFER, now=NOW)
    assert checked is refusal


@pytest.mark.parametrize(
    ("said", "mapping", "expected"),
    [
        (
            {"realm_access": {"roles": ["llm", "offline_access"]}, "org": "acme", "preferred_username": "jo"},
            ClaimMapping("org", "", "preferred_username", "realm_access.roles", {"llm": (Scope.INFER,)}),
            ("acme", "jo", {Scope.INFER}),
        ),
        (
            {"https://acme.example/tenant": "acme", "sub": "auth0|1", "scope": "openid infer read"},
            ClaimMapping("https://acme.example/tenant", "", "sub", "scope"),
            ("acme", "auth0|1", {Scope.INFER, Scope.READ}),
        ),
        (
            {"tid": "7b1c2d3e-0000-4000-8000-000000000000", "oid": "o-1", "roles": ["LLM.Admin"]},
            ClaimMapping("", "acme", "oid", "roles", {"LLM.Admin": (Scope.INFER, Scope.ADMIN)}),
            ("acme", "o-1", {Scope.INFER, Scope.ADMIN}),
        ),
        (
            {"a": {"b.c": {"roles": "x"}}, "t": ["acme"], "u": "jo"},
            ClaimMapping("t", "", "u", "a.b.c.roles", {"x": (Scope.READ,)}),
            ("acme", "jo", {Scope.READ}),
        ),
    ],
    ids=["Keycloak", "Auth0", "Entra", "a name with dots"],
)
def test_claims_of_known_providers_are_mapped(
    said: dict[str, Any], mapping: ClaimMapping, expected: tuple[str, str, set[Scope]]
) -> None:
    """By dotted paths and names for scopes."""
    bearer = bearer_of(said, mapping)
    assert not isinstance(bearer, Refusal)
    assert (bearer.tenant, bearer.user, set(bearer.scopes)) == expected


@pytest.mark.parametrize("path", ["", ".", "a", "a.b.c.d", "..", "a..b"])
def test_path_that_leads_nowhere_gives_nothing(path: str) -> None:
    """Whatever is in between."""
    assert claim_at({"a": {"b": "text"}, "c": None}, path) in (None, {"b": "text"})


def test_exchanged_token_stands_for_its_key_and_no_more() -> None:
    """Its models and limits are the key's; its scopes those that were asked for, as far
    as the key has them now.
    """
    checker, state = checker_of(), state_of(tenant(), KEY)
    narrow, forged_wide = exchanged(KEY, (Scope.READ,)), exchanged(KEY, tuple(Scope))
    checked = checker.check(state, narrow, Scope.READ, now=NOW)
    assert scopes_of(checked) == {"read"}
    assert isinstance(checked, Principal)
    assert (checked.key_id, checked.user, checked.models) == (KEY.key_id, "jo", ("m",))
    assert checker.check(state, narrow, Scope.INFER, now=NOW) is Refusal.SCOPE
    assert scopes_of(checker.check(state, forged_wide, None, now=NOW)) == {"infer", "read"}
    narrowed = sign_key(KEY.model_copy(update={"scopes": (Scope.INFER,), "version": 2}), pepper=PEPPER)
    state = fold(state, [record_of(narrowed)])
    assert checker.check(state, narrow, Scope.READ, now=NOW) is Refusal.SCOPE
    assert scopes_of(checker.check(state, forged_wide, None, now=NOW)) == {"infer"}


@pytest.mark.parametrize(
    ("fields", "refusal"),
    [
        ({"revoked_at": NOW}, Refusal.REVOKED),
        ({"deleted_at": NOW}, Refusal.REVOKED),
        ({"expires_at": NOW}, Refusal.EXPIRED),
        ({"secret_hmac": "1" * 64}, Refusal.KEY_CHANGED),
    ],
)
def test_exchanged_token_ends_with_its_key(fields: dict[str, Any], refusal: Refusal) -> None:
    """At once, also where it was let in before; and with the key's record gone."""
    checker, state, token = checker_of(), state_of(tenant(), KEY), exchanged(KEY, KEY.scopes)
    assert scopes_of(checker.check(state, token, Scope.INFER, now=NOW))
    ended = sign_key(KEY.model_copy(update=fields | {"version": 2}), pepper=PEPPER)
    after = fold(state, [record_of(ended)])
    assert checker.check(after, token, Scope.INFER, now=NOW) is refusal
    gone = fold(state, [ControlRecord(f"key:{KEY.key_id}", None)])
    assert checker.check(gone, token, Scope.INFER, now=NOW) is Refusal.KEY_CHANGED
    unsigned = fold(state, [record_of(KEY.model_copy(update={"scopes": tuple(Scope), "version": 2}))])
    assert checker.check(unsigned, token, Scope.INFER, now=NOW) is Refusal.UNSIGNED


def test_exchanged_token_lives_through_a_rotation_as_long_as_its_secret() -> None:
    """The overlap is the old secret's, so it is its tokens' too."""
    checker, token = checker_of(), exchanged(KEY, KEY.scopes)
    rotated = sign_key(
        KEY.model_copy(
            update={
                "secret_hmac": "2" * 64,
                "previous_secret_hmac": KEY.secret_hmac,
                "previous_secret_until": NOW + timedelta(seconds=60),
                "version": 2,
            }
        ),
        pepper=PEPPER,
    )
    state = state_of(tenant(), rotated)
    assert scopes_of(checker.check(state, token, Scope.INFER, now=NOW + timedelta(seconds=59)))
    assert checker.check(state, token, Scope.INFER, now=NOW + timedelta(seconds=60)) is Refusal.TOKEN_EXPIRED


def test_exchanged_token_is_good_for_its_time_and_its_pepper_only() -> None:
    """No other pepper's, no other audience's, none after its end."""
    checker, state = checker_of(), state_of(tenant(), KEY)
    token = exchanged(KEY, KEY.scopes)
    assert checker.check(state, token, Scope.INFER, now=NOW + timedelta(seconds=600)) is Refusal.TOKEN_EXPIRED
    elsewhere = TokenChecker(TokenExchange("another pepper"))
    assert elsewhere.check(state, token, Scope.INFER, now=NOW) is Refusal.INVALID_TOKEN
    assert (
        TokenChecker(TokenExchange(PEPPER)).check(state, issued(), Scope.INFER, now=NOW)
        is Refusal.INVALID_TOKEN
    )
    long = exchanged(KEY, KEY.scopes, lasts_s=100_000)
    assert checker.check(state, long, Scope.INFER, now=NOW) is Refusal.TOO_LONG
    assert KEY.secret_hmac[:16] not in repr(checker)
    assert PEPPER not in repr(checker)


def test_memory_of_tokens_is_bounded_and_holds_no_token() -> None:
    """Of many the oldest goes; what is not let in leaves nothing."""
    checker, state = checker_of(), state_of(tenant())
    checker.capacity = 3
    tokens = [issued(jti=str(number)) for number in range(5)]
    for token in tokens:
        assert scopes_of(checker.check(state, token, Scope.INFER, now=NOW))
        checker.check(state, token + "x", Scope.INFER, now=NOW)
    assert len(checker._known) == 3
    assert not any(token in repr(checker) for token in tokens)


def test_unread_issuers_keys_say_so() -> None:
    """The client may try again."""
    keys = FakeKeys(key=None)
    checked = checker_of(keys).check(ControlState(), issued(), Scope.INFER, now=NOW)
    assert checked is Refusal.ISSUER_KEYS
