"""Receipts: signed, verified, and about whom."""

import json
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.events.audit import ErasedPlace, SubjectErasure
from services.common.control.state import ControlState
from services.console.privacy.log import merged
from services.console.privacy.receipts import is_about, public_key_of, signed, verify
from services.console.privacy.subject import Identities, subject_digest, subject_of
from services.console.privacy.work import bus_until, next_round
from tests.support.console.scene import BEGAN, PSEUDONYM_KEY
from tests.support.control import PEPPER

IDENTITIES = Identities(PEPPER, PSEUDONYM_KEY)
NAMES = st.text(min_size=1, max_size=40)


def erasure(user: str = "jo", **changes: Any) -> SubjectErasure:
    """An erasure of a user of acme."""
    proof = IDENTITIES.proof("e1")
    subject = subject_of(PSEUDONYM_KEY, ControlState(), "acme", user).with_keys(["k1"])
    values: dict[str, Any] = {
        "erasure_id": "e1",
        "tenant": "acme",
        "subject": subject_digest(proof, "acme", user),
        "requested_by": "key:abc",
        "requested_at": BEGAN,
        "cut_at": BEGAN + timedelta(minutes=75),
        "sealed": IDENTITIES.sealed("e1", subject),
        "places": (ErasedPlace(place="requests", found=3, erased=3, rounds=1),),
    }
    return SubjectErasure(**(values | changes))


def test_receipt_is_good_with_the_installations_key_only() -> None:
    """Through JSON and back; not with another pepper's key."""
    receipt = json.loads(json.dumps(signed(erasure(), PEPPER)))
    assert verify(receipt, public_key_of(PEPPER)) == ""
    assert "another public key" in verify(receipt, public_key_of("another pepper of sixteen"))
    forged = signed(erasure(), "another pepper of sixteen") | {"public_key": public_key_of(PEPPER)}
    assert "signature" in verify(forged, public_key_of(PEPPER))


@pytest.mark.parametrize("field", sorted(signed(erasure(), PEPPER)))
def test_receipt_whose_fields_were_changed_is_not_good(field: str) -> None:
    """Each single one, changed or taken away."""
    receipt = signed(erasure(), PEPPER)
    without = {name: value for name, value in receipt.items() if name != field}
    for changed in (receipt | {field: "x"}, receipt | {field: None}, without):
        assert verify(changed, public_key_of(PEPPER)) != "" or changed == receipt


@given(NAMES, NAMES)
def test_receipt_is_about_one_user_and_names_nobody(user: str, other: str) -> None:
    """By the proof; another's name, another tenant's or another proof do not fit."""
    receipt, proof = signed(erasure(user), PEPPER), IDENTITIES.proof("e1")
    assert is_about(receipt, user, proof)
    assert is_about(receipt, other, proof) == (user == other)
    assert not is_about(receipt, user, IDENTITIES.proof("e2"))
    assert not is_about(receipt | {"tenant": "globex"}, user, proof)
    assert not is_about(receipt, user, "no proof")


@given(NAMES)
def test_subject_is_opened_with_the_pepper_and_its_erasure_only(user: str) -> None:
    """Moved to another erasure's record, or read with another pepper, it tells nobody."""
    found = IDENTITIES.opened(erasure(user))
    assert found is not None
    assert (found.user, found.key_ids, found.tenant) == (user, ("k1",), "acme")
    assert IDENTITIES.opened(erasure(user, erasure_id="e2")) is None
    assert Identities("another pepper of sixteen", PSEUDONYM_KEY).opened(erasure(user)) is None


def test_rounds_go_on_until_the_bus_has_no_copy() -> None:
    """After the longest request, and after the longest retention."""
    begun = erasure()
    assert next_round(begun, 1) == begun.cut_at + timedelta(minutes=1)
    assert next_round(begun, 2) == bus_until(begun)
    assert bus_until(begun) >= begun.cut_at + timedelta(days=31)
    assert next_round(begun, 3) is None


def test_records_of_two_processes_say_together_what_was_found() -> None:
    """Whichever comes last: nothing that was counted or done is forgotten."""
    first = erasure(places=(ErasedPlace(place="a", found=5, erased=5, rounds=1), ErasedPlace(place="b")))
    second = erasure(
        state="erased", rounds=1, places=(ErasedPlace(place="a", rounds=1), ErasedPlace(place="c", found=1))
    )
    for told in (merged(first, second), merged(second, first)):
        assert (told.state, told.rounds) == ("erased", 1)
        assert {one.place: (one.found, one.rounds) for one in told.places} == {
            "a": (5, 1),
            "b": (0, 0),
            "c": (1, 0),
        }
