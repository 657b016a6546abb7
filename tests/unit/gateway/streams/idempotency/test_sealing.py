"""Answers that only the call which has the key and the body can read."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.limits import MAX_RECORD_BYTES
from services.gateway.streams.idempotency.sealing import Asked, who_may_repeat

ASKED = Asked(("tenant", "key"), "k", b'["/v1", {"a": 1}]')
PEPPER = b"pepper"


@given(st.binary(max_size=2000))
def test_sealed_answer_opens_for_the_same_call(plain: bytes) -> None:
    """Whatever it is; it is never in the clear."""
    sealed = ASKED.seal(PEPPER, "0-a", plain)
    assert sealed is not None
    assert ASKED.open(PEPPER, "0-a", sealed) == plain


@pytest.mark.parametrize(
    "other",
    [
        replace(ASKED, key="k2"),
        replace(ASKED, body=b"{}"),
        replace(ASKED, caller=("tenant", "key2")),
        replace(ASKED, caller=("tenan", "tkey")),
    ],
)
def test_sealed_answer_opens_for_no_other_call(other: Asked) -> None:
    """Nor under another id, with another pepper, or damaged; digests differ too."""
    sealed = ASKED.seal(PEPPER, "0-a", b"secret") or ""
    assert other.open(PEPPER, "0-a", sealed) is None
    assert ASKED.open(PEPPER, "0-b", sealed) is None
    assert ASKED.open(b"x", "0-a", sealed) is None
    assert ASKED.open(PEPPER, "0-a", sealed[:-8] + "AAAAAAA=") is None
    assert ASKED.open(PEPPER, "0-a", "no base64!") is None
    digests = (other.digest(PEPPER), other.body_digest(PEPPER))
    assert digests != (ASKED.digest(PEPPER), ASKED.body_digest(PEPPER))


def test_answer_that_fits_into_no_record_is_not_kept() -> None:
    """The caller is told by None."""
    import random

    noise = random.Random(1).randbytes(MAX_RECORD_BYTES)
    assert ASKED.seal(PEPPER, "0-a", noise) is None
    assert ASKED.seal(PEPPER, "0-a", b"x" * 17 * 1024 * 1024) is None


@given(st.text(min_size=1), st.text(min_size=1))
def test_key_and_a_user_of_its_name_repeat_nothing_of_each_other(name: str, other: str) -> None:
    """Nor does a user whose name begins as a key's does; a key is one whoever its user."""
    by_key = who_may_repeat("t", key_id=name, user="")
    assert by_key == who_may_repeat("t", key_id=name, user=other)
    for user in (name, f"key:{name}", f"user:{name}"):
        assert who_may_repeat("t", key_id="", user=user) != by_key
        asked = Asked(who_may_repeat("t", key_id="", user=user), "k", b"{}")
        assert asked.digest(PEPPER) != Asked(by_key, "k", b"{}").digest(PEPPER)
