"""Keys and pseudonyms."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.control import Scope
from services.common.identity import (
    create_key,
    parse_key,
    pseudonym,
    pseudonym_of_named,
    secret_good_until,
    secret_hmac,
)

NOW = datetime(2026, 11, 22, tzinfo=UTC)


@given(st.binary(min_size=40, max_size=40))
def test_created_key_reads_back_and_only_its_secret_fits(random: bytes) -> None:
    """Any randomness makes a key that parses, and that its own secret opens under the
    same pepper alone.
    """
    source = iter(random)
    clear, record = create_key(
        pepper="p",
        name="n",
        tenant="t",
        now=NOW,
        random_bytes=lambda count: bytes(next(source) for _ in range(count)),
    )
    parsed = parse_key(clear)
    assert parsed is not None
    assert (parsed.key_id, len(parsed.secret)) == (record.key_id, 43)
    assert secret_good_until(record, parsed.secret, pepper="p")
    assert not secret_good_until(record, parsed.secret, pepper="q")
    assert not secret_good_until(record, parsed.secret[::-1] + "x", pepper="p")
    assert parsed.secret not in record.model_dump_json()
    assert parsed.secret not in repr(parsed)


def test_secret_hmac_is_hmac_sha256() -> None:
    """RFC 4231, test case 2."""
    assert (
        secret_hmac("Jefe", "what do ya want for nothing?")
        == "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
    )


@pytest.mark.parametrize(
    "text",
    [
        "",
        "tsn_",
        "sk-abc",
        "tsn_ABCDEFGH_" + "a" * 43,
        "tsn_abcdefgh_" + "a" * 42,
        "tsn_abcdefgh_" + "a" * 43 + "\n",
    ],
)
def test_text_that_is_no_key_does_not_parse(text: str) -> None:
    """Only the exact form is a key."""
    assert parse_key(text) is None


def test_key_carries_what_it_was_given() -> None:
    """Scopes, models, user and expiry are the record's."""
    _, record = create_key(
        pepper="p",
        name="n",
        tenant="t",
        now=NOW,
        user="u",
        scopes=[Scope.ADMIN],
        models=["m"],
        expires_at=NOW,
    )
    assert (record.scopes, record.models, record.user, record.expires_at, record.revoked_at) == (
        (Scope.ADMIN,),
        ("m",),
        "u",
        NOW,
        None,
    )


def test_pseudonym_depends_on_key_tenant_and_user() -> None:
    """The same user is the same within a tenant, and nobody else is."""
    one = pseudonym("k", tenant="t", user="jo")
    assert one == pseudonym("k", tenant="t", user="jo")
    assert (
        len(
            {
                one,
                pseudonym("k", tenant="t2", user="jo"),
                pseudonym("k2", tenant="t", user="jo"),
                pseudonym("k", tenant="t", user="jo2"),
            }
        )
        == 4
    )
    assert "jo" not in one
    assert pseudonym("k", tenant="t", user="") == ""


@given(named=st.text(max_size=40), calling=st.text(max_size=40))
def test_user_who_is_only_named_is_never_one_who_calls(named: str, calling: str) -> None:
    """Whatever the names; where both have one name, analysts can tell that."""
    only_named = pseudonym_of_named("k", tenant="t", user=named)
    assert only_named != pseudonym("k", tenant="t", user=calling) or not (named or calling)
    assert only_named[2:] == pseudonym("k", tenant="t", user=named)[2:]
