"""Credentials: what is recognised, and what stands for one."""

import re
from typing import Any

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from services.detection.secrets import table
from services.detection.secrets.placeholders import entropy, is_placeholder
from services.detection.secrets.recogniser import find_secrets

PROVIDERS: list[dict[str, Any]] = table._table()["providers"]
GENERIC = "SECRET_GENERIC_PASSWORD"
ASSIGNED = [
    ("export DB_PASS='p@ss-W0rd!x9'", "p@ss-W0rd!x9"),
    ('"password": "S3cur3!pass"', "S3cur3!pass"),
    ("mysql -u root --password=Zk8fQ2wL app", "Zk8fQ2wL"),
    ("Mon mdp c'est Soleil2024!", "Soleil2024!"),
    ("mot de passe : Vache2folle", "Vache2folle"),
    ("the wifi password is Blue$ky77 ok", "Blue$ky77"),
    ('api_key = "9f8e7d6c5b4a39281706f5e4d3c2b1a0"', "9f8e7d6c5b4a39281706f5e4d3c2b1a0"),
    ("client_secret: 'Xk29sLQp88vbNmZx01'", "Xk29sLQp88vbNmZx01"),
    ("Authorization: Bearer a8Kd92jLs0Qm4nXz7Pw1Rt6Y", "a8Kd92jLs0Qm4nXz7Pw1Rt6Y"),
    ("https://api.x.com/v1?token=a8Kd92jLs0Qm4nXz7Pw1&x=2", "a8Kd92jLs0Qm4nXz7Pw1"),
    ("<password>Qw3rty!99</password>", "Qw3rty!99"),
    ("my api key is k3y9Zq81LmPo22Wx", "k3y9Zq81LmPo22Wx"),
    ("curl -u admin:Tr1ckyP4ss https://x", "Tr1ckyP4ss"),
    ("contraseña: Perro123$", "Perro123$"),
]
WHOLE = [
    ("SECRET_DB_URL", "mongodb+srv://u:Pa55w0rd9@c0.mongodb.net/x?retryWrites=true"),
    ("SECRET_DB_URL", "redis://:p4ssW0rdX@cache:6379/0"),
    ("SECRET_DB_URL", "Server=db;Database=x;User Id=sa;Password=Str0ng!P4ss;"),
    ("SECRET_SLACK_WEBHOOK", "https://hooks.slack.com/services/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"),
    (
        "SECRET_AZURE_CONN",
        "DefaultEndpointsProtocol=https;AccountName=acme;AccountKey="
        + "q7OZh/w9Tfh3+FMX8yUV" * 4
        + "cpUCw==;EndpointSuffix=core.windows.net",
    ),
    (
        "SECRET_PRIVATE_KEY",
        (
            "-----BEGIN EC PRIVATE "
            "KEY-----\nMHcCAQEEIIrYSSNQFaA2Hwf1duRSxKtLYX5CB04fSeQ6tF1aY/PuoAoGCCqGSM49\n-----END EC PRIVATE "
            "KEY-----"
        ),
    ),
]
NONE = [
    "sk-xxxxxxxxxxxxxxxxxxxxxxxx",
    "ghp_XXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXX",
    "AKIAIOSFODNN7EXAMPLE",
    "Set api_key to <YOUR_API_KEY> in your config file.",
    "Set api_key to $OPENAI_API_KEY in your config file.",
    "token: ${{ secrets.GITHUB_TOKEN }}",
    "api_key = os.environ['OPENAI_API_KEY']",
    "password = getpass.getpass()",
    "const password = req.body.password;",
    "password: changeme",
    "password: ********",
    "The password field is required.",
    "password must be at least 12 characters",
    "Votre mot de passe est incorrect.",
    "postgres://user:password@localhost/db",
    "mongodb://<user>:<password>@host/db",
    "def call(secret_client: SecretClient, connection_key: ConnectionKey) -> None:",
    'pass_name = "custom_backend_passes"; PHILOX_KEY_B = 0xBB67AE85',
    "hf_your_token_here",
    "max_tokens=4096; token: string;",
    "cache_key: user:1234:profile:v2",
    "-----BEGIN PRIVATE KEY-----\n...\n-----END PRIVATE KEY-----",
    "-----BEGIN PUBLIC KEY-----\nMIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8A\n-----END PUBLIC KEY-----",
    "sha256: e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "Decode RmF2ZXVyIHBhdXBpw6hyZSBkcm9pdCB0ZXJyaWJsZQ==",
]


@pytest.mark.parametrize("provider", PROVIDERS, ids=lambda p: f"{p['id']}-{p['pattern'][:6]}")
@settings(
    max_examples=8,
    deadline=None,
    suppress_health_check=[HealthCheck.filter_too_much, HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(data=st.data())
def test_provider_token_of_its_pattern_is_found(provider: dict[str, Any], data: st.DataObject) -> None:
    """Any token of a provider's documented form, but for samples, is found whole in a
    line of configuration.
    """
    token = data.draw(st.from_regex(re.compile(provider["pattern"], re.ASCII), fullmatch=True))
    assume(not is_placeholder(token) and entropy(token[4:]) >= max(3.0, provider.get("entropy", 3.0)))
    text = f"TOKEN={token} # comment"
    assert any(f.start <= 6 and f.end >= 6 + len(token.rstrip("=.-_~")) - 2 for f in find_secrets(text))


@pytest.mark.parametrize("provider", PROVIDERS, ids=lambda p: f"{p['id']}-{p['pattern'][:6]}")
def test_provider_entry_says_how_it_is_looked_up(provider: dict[str, Any]) -> None:
    """Each entry has the beginnings of its tokens or what a text must hold, never both,
    and a pattern that compiles.
    """
    assert ("starts" in provider) != ("holds" in provider)
    assert all(len(start) >= 2 for start in provider.get("starts", []))
    assert provider["type"].startswith("SECRET_")
    re.compile(provider["pattern"])


@pytest.mark.parametrize(("text", "value"), ASSIGNED)
def test_secret_assigned_to_a_telling_name_is_found(text: str, value: str) -> None:
    """What is assigned to a password, key or token, or said to be one, is found without
    its quotes.
    """
    assert [(f.type, text[f.start : f.end]) for f in find_secrets(text)] == [(GENERIC, value)]


@pytest.mark.parametrize(("kind", "value"), WHOLE)
def test_secret_of_several_parts_is_found_whole(kind: str, value: str) -> None:
    """Connection strings, secret URLs and key blocks are one finding each."""
    text = f"here: {value} thanks"
    assert [(f.type, text[f.start : f.end]) for f in find_secrets(text)] == [(kind, value)]


@pytest.mark.parametrize("text", NONE)
def test_placeholder_code_and_prose_are_no_secrets(text: str) -> None:
    """What stands for a secret, fetches one or talks of one is left alone."""
    assert find_secrets(text) == ()


def test_aws_secret_next_to_its_name_is_told_apart() -> None:
    """Forty characters assigned to AWS's own name are its secret key."""
    text = "aws_secret_access_key = wJalrXUtnFEMI/K7MDENG/bPxRfiCYzQ8kLm2NpR"
    assert [f.type for f in find_secrets(text)] == ["SECRET_AWS_SECRET_KEY"]


def test_provider_format_beats_the_name_it_is_assigned_to() -> None:
    """A token of a known form is reported by its provider, not as a generic secret."""
    text = 'password = "glpat-s1ROU2yXj2TVDmjfvQKJ"'
    assert [(f.type, text[f.start : f.end]) for f in find_secrets(text)] == [
        ("SECRET_GITLAB_TOKEN", "glpat-s1ROU2yXj2TVDmjfvQKJ")
    ]
