"""Settings of those services that let callers in: the gateway and the console."""

import ipaddress
from typing import Self
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, field_validator, model_validator

from schemas.control import Scope
from services.common.clock import MonotonicClock
from services.common.control.access.claims import ClaimMapping
from services.common.control.access.exchange import LONGEST_S, TokenExchange
from services.common.control.access.jwks import JwksKeys, SharedSecret
from services.common.control.access.signatures import ALGORITHMS, Expected, shared_key
from services.common.control.access.tokens import Issuer, IssuerKeys, TokenChecker
from services.common.process.egress import Egress, EgressAllowed
from services.common.process.settings import CommonSettings

_NEVER_BY_TOKEN_ALONE = frozenset({Scope.ADMIN, Scope.PLATFORM})


class AccessSettings(CommonSettings):
    """What it takes to know a caller; each is a `TOCSIN_*` variable."""

    key_pepper: SecretStr = Field(
        min_length=16,
        description="Secret under which API keys are hashed, at least 16 characters, the same on every "
        "gateway and console; sessions and exchanged tokens are signed with keys derived from it.",
    )
    token_longest_s: int = Field(
        600,
        ge=10,
        le=LONGEST_S,
        description="How long a token of POST /api/auth/token may last, and does if not asked for less.",
    )
    jwt_algorithms: str = Field(
        "",
        description="Algorithms of the identity provider's tokens, separated by commas: HS256 alone, or of "
        "RS256, ES256 and EdDSA those that it uses. Empty: only API keys are let in.",
    )
    jwt_issuer: str = Field("", description="The provider's `iss`, to the letter.")
    jwt_audience: str = Field(
        "", description="What `aud` must name, separated by commas if one of several will do."
    )
    jwt_jwks_url: str = Field(
        "", description="Where the provider's public keys are; https, or a loopback address."
    )
    jwt_secret: SecretStr = Field(
        SecretStr(""), description="The secret shared with the provider for HS256, at least 32 bytes."
    )
    egress_allowed: EgressAllowed = ""
    jwt_leeway_s: int = Field(
        30, ge=0, le=300, description="By how much the provider's clock may differ from this one."
    )
    jwt_max_lifetime_s: float = Field(
        86_400.0, gt=0, le=2_592_000, description="A token that lasts longer than this is refused."
    )
    jwt_refresh_s: float = Field(
        300.0, ge=10, le=86_400, description="How often the provider's keys are read anew."
    )
    jwt_tenant: str = Field("", description="The tenant of everybody with a token; empty: the claim tells.")
    jwt_tenant_claim: str = Field("tenant", description="Dotted path of the claim that names the tenant.")
    jwt_user_claim: str = Field("sub", description="Dotted path of the claim that names the user.")
    jwt_scopes_claim: str = Field(
        "scope", description="Dotted path of the claim with the scopes: names separated by spaces, or a list."
    )
    jwt_scope_names: str = Field(
        "",
        description="What the provider's names stand for, as llm-users=infer,llm-admins=admin; a name may "
        "stand for several: llm-users=infer+feedback. Empty: scopes go by their own names.",
    )
    jwt_unentered_scopes: str = Field(
        "infer,feedback",
        description="All that a token's user may do whom nobody entered (`tocsin users create`); empty: "
        "nothing. Never admin nor platform.",
    )

    @field_validator("jwt_jwks_url")
    @classmethod
    def _is_safe(cls, value: str) -> str:
        parts = urlsplit(value)
        if value and not (
            parts.hostname
            and not parts.username
            and (parts.scheme == "https" or (parts.scheme == "http" and _is_loopback(parts.hostname)))
        ):
            raise ValueError("must be an https address, or http on a loopback address, without a login")
        return value

    @field_validator("jwt_algorithms")
    @classmethod
    def _are_algorithms(cls, value: str) -> str:
        named = split(value)
        if unknown := [one for one in named if one not in ALGORITHMS]:
            raise ValueError(f"{unknown[0]!r} is not served; choose of {', '.join(ALGORITHMS)}")
        if "HS256" in named and len(named) > 1:
            raise ValueError("HS256 stands alone: a secret and public keys do not mix")
        return value

    @field_validator("jwt_scope_names")
    @classmethod
    def _name_scopes(cls, value: str) -> str:
        scope_names(value)
        return value

    @field_validator("jwt_unentered_scopes")
    @classmethod
    def _are_harmless(cls, value: str) -> str:
        if _NEVER_BY_TOKEN_ALONE & set(_scopes(split(value))):
            raise ValueError("admin and platform are only for users who were entered")
        return value

    @model_validator(mode="after")
    def _complete(self) -> Self:
        """An issuer is configured whole, or not at all."""
        algorithms = split(self.jwt_algorithms)
        if not algorithms:
            return self
        for name in ("jwt_issuer", "jwt_audience", "jwt_user_claim"):
            if not split(str(getattr(self, name))):
                raise ValueError(f"TOCSIN_{name.upper()} is needed with TOCSIN_JWT_ALGORITHMS")
        if algorithms == ["HS256"]:
            try:
                shared_key(self.jwt_secret.get_secret_value().encode())
            except ValueError as error:
                raise ValueError(f"TOCSIN_JWT_SECRET {error}") from error
        elif not self.jwt_jwks_url:
            raise ValueError(f"TOCSIN_JWT_JWKS_URL is needed for {', '.join(algorithms)}")
        return self

    @property
    def claim_mapping(self) -> ClaimMapping:
        """What the provider's claims mean."""
        return ClaimMapping(
            tenant=self.jwt_tenant_claim,
            fixed_tenant=self.jwt_tenant,
            user=self.jwt_user_claim,
            scopes=self.jwt_scopes_claim,
            scope_names=scope_names(self.jwt_scope_names),
            unentered_scopes=_scopes(split(self.jwt_unentered_scopes)),
        )

    def token_checker(self, monotonic: MonotonicClock) -> TokenChecker:
        """What checks tokens by these settings."""
        exchange = TokenExchange(self.key_pepper.get_secret_value())
        algorithms = tuple(split(self.jwt_algorithms))
        if not algorithms:
            return TokenChecker(exchange)
        keys: IssuerKeys = (
            SharedSecret(shared_key(self.jwt_secret.get_secret_value().encode()))
            if algorithms == ("HS256",)
            else JwksKeys(
                self.jwt_jwks_url,
                algorithms,
                monotonic,
                refresh_s=self.jwt_refresh_s,
                egress=Egress.of(self.egress_allowed),
            )
        )
        expected = Expected(
            self.jwt_issuer, tuple(split(self.jwt_audience)), self.jwt_leeway_s, self.jwt_max_lifetime_s
        )
        return TokenChecker(exchange, Issuer(expected, self.claim_mapping, keys))


def scope_names(value: str) -> dict[str, tuple[Scope, ...]]:
    """The names of `jwt_scope_names` with what each stands for.

    Raises:
        ValueError: it is malformed, or there is no such scope.
    """
    named = {}
    for one in split(value):
        name, equals, scopes = one.rpartition("=")
        if not (name and equals and scopes):
            raise ValueError(f"{one!r} must look like llm-users=infer+feedback")
        named[name] = _scopes(scopes.split("+"))
    return named


def split(value: str) -> list[str]:
    """What commas separate."""
    return [one.strip() for one in value.split(",") if one.strip()]


def _scopes(names: list[str]) -> tuple[Scope, ...]:
    return tuple(Scope(name.strip()) for name in names)


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
