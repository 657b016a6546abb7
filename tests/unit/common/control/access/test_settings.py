"""What may be configured of an identity provider."""

from typing import Any

import pytest

from schemas.control import Scope
from services.common.control.access.jwks import JwksKeys, SharedSecret
from services.common.control.access.settings import AccessSettings
from services.common.errors import ConfigError

WHOLE = {
    "key_pepper": "a pepper for the tests only",
    "jwt_algorithms": "RS256,ES256",
    "jwt_issuer": "https://issuer.example",
    "jwt_audience": "tocsin",
    "jwt_jwks_url": "https://issuer.example/jwks",
}
SHARED = WHOLE | {"jwt_algorithms": "HS256", "jwt_jwks_url": "", "jwt_secret": "s" * 32}


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"jwt_algorithms": "none"}, "TOCSIN_JWT_ALGORITHMS"),
        ({"jwt_algorithms": "RS512"}, "TOCSIN_JWT_ALGORITHMS"),
        ({"jwt_algorithms": "HS256,RS256"}, "TOCSIN_JWT_ALGORITHMS"),
        ({"jwt_issuer": ""}, "TOCSIN_JWT_ISSUER"),
        ({"jwt_audience": " , "}, "TOCSIN_JWT_AUDIENCE"),
        ({"jwt_jwks_url": ""}, "TOCSIN_JWT_JWKS_URL"),
        ({"jwt_jwks_url": "http://issuer.example/jwks"}, "TOCSIN_JWT_JWKS_URL"),
        ({"jwt_jwks_url": "http://127.0.0.1.issuer.example/jwks"}, "TOCSIN_JWT_JWKS_URL"),
        ({"jwt_jwks_url": "https://me:pass@issuer.example/jwks"}, "TOCSIN_JWT_JWKS_URL"),
        ({"jwt_jwks_url": "file:///etc/passwd"}, "TOCSIN_JWT_JWKS_URL"),
        ({"jwt_algorithms": "HS256"}, "TOCSIN_JWT_SECRET"),
        ({"jwt_algorithms": "HS256", "jwt_secret": "s" * 31}, "TOCSIN_JWT_SECRET"),
        ({"jwt_scope_names": "users"}, "TOCSIN_JWT_SCOPE_NAMES"),
        ({"jwt_scope_names": "users=fly"}, "TOCSIN_JWT_SCOPE_NAMES"),
        ({"jwt_unentered_scopes": "infer,admin"}, "TOCSIN_JWT_UNENTERED_SCOPES"),
        ({"jwt_unentered_scopes": "platform"}, "TOCSIN_JWT_UNENTERED_SCOPES"),
        ({"jwt_unentered_scopes": "fly"}, "TOCSIN_JWT_UNENTERED_SCOPES"),
        ({"token_longest_s": 86_400}, "TOCSIN_TOKEN_LONGEST_S"),
    ],
)
def test_wrong_setting_is_named_and_its_secret_is_not(wrong: dict[str, Any], named: str) -> None:
    """Before anything is started."""
    with pytest.raises(ConfigError, match=named) as refused:
        AccessSettings.load(**(WHOLE | wrong))
    assert "sss" not in str(refused.value)
    assert "pepper for" not in str(refused.value)


def test_settings_make_the_checker_that_they_describe() -> None:
    """None, a shared secret, or a set of keys."""
    only_keys = AccessSettings.load(key_pepper=WHOLE["key_pepper"]).token_checker(lambda: 0.0)
    assert only_keys.issuer is None
    shared = AccessSettings.load(**SHARED).token_checker(lambda: 0.0).issuer
    assert shared is not None
    assert isinstance(shared.keys, SharedSecret)
    fetched = AccessSettings.load(**WHOLE).token_checker(lambda: 0.0).issuer
    assert fetched is not None
    assert isinstance(fetched.keys, JwksKeys)
    assert fetched.keys.algorithms == ("RS256", "ES256")
    local = AccessSettings.load(**(WHOLE | {"jwt_jwks_url": "http://[::1]:8080/jwks"}))
    assert local.token_checker(lambda: 0.0).issuer is not None


def test_names_of_the_provider_stand_for_one_scope_or_several() -> None:
    """A name may hold an equals sign itself, as LDAP's do."""
    given = "llm-users=infer+feedback, cn=admins=admin"
    mapping = AccessSettings.load(**(WHOLE | {"jwt_scope_names": given})).claim_mapping
    assert mapping.scope_names == {
        "llm-users": (Scope.INFER, Scope.FEEDBACK),
        "cn=admins": (Scope.ADMIN,),
    }
    nothing = AccessSettings.load(**(WHOLE | {"jwt_unentered_scopes": ""})).claim_mapping
    assert nothing.unentered_scopes == ()
