"""The chain of hashes, and what tampering with it shows."""

import dataclasses
import hashlib
import hmac
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.analyzer.audit.domain.chain import DELETED, GENESIS, AuditRow, replace_hash
from services.analyzer.audit.domain.verification import Fault, Verdict, verify
from tests.support.analyzer.audit_fakes import chain

_ROWS = chain(12, holes=3)
_FIELDS = [one.name for one in dataclasses.fields(AuditRow)]
_PLACES = st.integers(0, len(_ROWS) - 1)


def test_whole_chain_is_found_whole() -> None:
    """From the first row to the head."""
    assert verify(_ROWS) == Verdict(12, _ROWS[-1].hash, 0)
    assert verify([]) == Verdict(0, GENESIS, 0)
    assert [row.position for row in _ROWS] == list(range(12))


def test_row_hash_is_that_of_the_published_format() -> None:
    """Computed here by hand, as somebody would who has only the table and the format."""
    row = _ROWS[3]
    salt = hmac.new(f"{3:032x}".encode(), b"actor", hashlib.sha256).hexdigest()
    actor = hashlib.sha256(f'{salt}\n["key-0","203.0.113.0/24"]'.encode()).hexdigest()
    names = "chain position previous_hash tenant action outcome object_kind entry_id request_id actor_kind"
    names += " content_digest event_id source sequence topic partition offset"
    covered = {name: getattr(row, name) for name in names.split()} | {
        "format": "tocsin-audit-1",
        "actor_digest": actor,
        "occurred_at": row.occurred_at.strftime("%Y-%m-%dT%H:%M:%S.") + "003Z",
    }
    canonical = json.dumps(covered, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    assert row.hash == hashlib.sha256(canonical.encode()).hexdigest()


@settings(max_examples=200, deadline=None)
@given(place=_PLACES, name=st.sampled_from(_FIELDS), rehash=st.booleans())
def test_any_altered_value_of_any_row_is_found(place: int, name: str, rehash: bool) -> None:  # noqa: FBT001
    """Also where the forger computes the row's own hash anew: the next row then does not
    follow; for the last row only an anchor tells.
    """
    forged = dataclasses.replace(_ROWS[place], **{name: _other(getattr(_ROWS[place], name))})
    forged = replace_hash(forged) if rehash and name != "hash" else forged
    rows = [*_ROWS[:place], forged, *_ROWS[place + 1 :]]
    verdict = verify(rows, [(11, _ROWS[11].hash)])
    assert verdict.first_break is not None
    assert verdict.first_break.position in (place, place + 1)


@given(place=_PLACES)
def test_missing_row_is_named(place: int) -> None:
    """The last one by an anchor only: nothing else says that there was more."""
    verdict = verify([*_ROWS[:place], *_ROWS[place + 1 :]], [(11, _ROWS[11].hash)])
    assert verdict.first_break is not None
    assert (verdict.first_break.position, verdict.first_break.fault) == (place, Fault.MISSING)
    assert verify(_ROWS[:place]).first_break is None


@given(pair=st.lists(_PLACES, min_size=2, max_size=2, unique=True))
def test_rows_that_changed_places_are_found(pair: list[int]) -> None:
    """Even if their positions were changed with them."""
    first, second = sorted(pair)
    rows = list(_ROWS)
    rows[first] = replace_hash(dataclasses.replace(_ROWS[second], position=first))
    rows[second] = replace_hash(dataclasses.replace(_ROWS[first], position=second))
    found = verify(rows).first_break
    assert found is not None
    assert (found.position, found.fault) == (first, Fault.UNLINKED)


@given(place=_PLACES)
def test_fork_is_found(place: int) -> None:
    """Two rows in one place, each with a right hash."""
    other = replace_hash(dataclasses.replace(_ROWS[place], action="key.deleted"))
    rows = sorted([*_ROWS, other], key=lambda row: (row.position, row.hash))
    found = verify(rows).first_break
    assert found is not None
    assert found.fault in (Fault.FORKED, Fault.UNLINKED, Fault.MISSING)


def test_chain_that_was_written_anew_as_a_whole_is_found_by_an_anchor() -> None:
    """Nothing in a chain tells that all of it was replaced."""
    forged = chain(12)
    assert verify(forged).first_break is None
    found = verify(forged, [(5, _ROWS[5].hash)]).first_break
    assert found is not None
    assert (found.position, found.fault) == (5, Fault.NOT_ANCHORED)


@given(places=st.sets(_PLACES), who=st.booleans(), what=st.booleans())
def test_erased_rows_leave_the_chain_whole(places: set[int], who: bool, what: bool) -> None:  # noqa: FBT001
    """Emptied with their salts, actor and content say nothing more, and nothing breaks."""
    rows = [_erased(row, who=who, what=what) if row.position in places else row for row in _ROWS]
    assert verify(rows) == Verdict(12, _ROWS[-1].hash, len(places) if who or what else 0)


@pytest.mark.parametrize("name", ["actor_id", "address", "object_id", "reason", "before", "after"])
def test_other_words_in_place_of_erased_ones_are_found(name: str) -> None:
    """An erasure cannot be used to put something else there."""
    row = dataclasses.replace(_erased(_ROWS[4], who=True, what=True), **{name: "somebody else"})
    found = verify([*_ROWS[:4], row, *_ROWS[5:]]).first_break
    assert found is not None
    assert (found.position, found.fault) == (4, Fault.ALTERED)


def _erased(row: AuditRow, *, who: bool, what: bool) -> AuditRow:
    changes: dict[str, Any] = {}
    if who:
        changes |= {"actor_id": DELETED, "address": "", "actor_salt": ""}
    if what:
        changes |= {"object_id": DELETED, "reason": "", "before": "", "after": "", "content_salt": ""}
    return dataclasses.replace(row, **changes)


def _other(value: Any) -> Any:
    if isinstance(value, str):
        return value[:-1] + ("0" if value[-1:] != "0" else "1")
    if isinstance(value, int):
        return value + 1
    return value.replace(year=value.year - 1)
