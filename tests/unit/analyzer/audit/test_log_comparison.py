"""A chain held against the log: what no hash and no anchor tells yet."""

import dataclasses
from collections.abc import AsyncIterator, Sequence

import pytest
from aiokafka import ConsumerRecord
from hypothesis import given
from hypothesis import strategies as st

from schemas.topics import AUDIT
from services.analyzer.audit.domain.chain import DELETED, AuditRow, Head, link, replace_hash
from services.analyzer.audit.domain.verification import Fault
from services.analyzer.audit.log_comparison import LogComparison
from services.common.bus import Record
from tests.support.analyzer.audit_fakes import chain, entry, envelope

_COUNT = 12
_ROWS = chain(_COUNT, holes=3)


def _record(number: int, value: bytes | None = None) -> Record:
    payload = entry(number).encode() if value is None else value
    headers = envelope(number).to_headers()
    found: Record = ConsumerRecord(AUDIT.name, 0, number * 3, 0, 0, None, payload, None, 0, 0, headers)
    return found


@dataclasses.dataclass
class _Table:
    stored: Sequence[AuditRow]

    async def rows_between(self, _chain: str, first: int, last: int) -> list[AuditRow]:
        return [row for row in self.stored if first <= row.offset <= last]


async def _compare(
    rows: Sequence[AuditRow],
    records: Sequence[Record],
    *,
    at_once: int = 4,
    end: int = _COUNT * 3,
    chained_to: int = 0,
) -> LogComparison:
    async def log() -> AsyncIterator[tuple[list[Record], int]]:
        for begin in range(0, len(records), at_once):
            some = list(records[begin : begin + at_once])
            yield some, some[-1].offset
        yield [], end - 1

    comparison = LogComparison("a", rows[-1].offset if rows else -1, chained_to)
    await comparison.run(log, _Table(rows))
    return comparison


@pytest.mark.parametrize("kept", [0, 4, 8])
@pytest.mark.parametrize("at_once", [1, 5, 100])
async def test_newest_rows_that_were_taken_away_are_missed(kept: int, at_once: int) -> None:
    """All of them, too: the audit role had committed that they were there. What it has
    not committed is still to be chained.
    """
    records = [_record(number) for number in range(_COUNT)]
    found = await _compare(_ROWS[:kept], records, at_once=at_once, chained_to=9 * 3)
    assert found.first_break is not None
    assert (found.first_break.position, found.first_break.fault) == (kept, Fault.MISSING)
    assert "taken away" in found.first_break.explanation
    whole = await _compare(_ROWS[:9], records, at_once=at_once, chained_to=9 * 3)
    assert (whole.first_break, whole.compared, whole.unchained) == (None, 9, 3)
    late = await _compare(_ROWS[:11], records, at_once=at_once, chained_to=9 * 3)
    assert (late.first_break, late.compared, late.unchained) == (None, 11, 1)


async def test_entry_that_was_set_aside_is_not_missed() -> None:
    """No row follows from it, though it was read."""
    records = [*(_record(number) for number in range(9)), _record(9, b"{}")]
    found = await _compare(_ROWS[:9], records, chained_to=10 * 3)
    assert (found.first_break, found.compared, found.unchained) == (None, 9, 0)


async def test_chain_that_follows_from_the_log_is_compared_whole() -> None:
    """Rows older than what the bus keeps are not; entries behind the head are to come;
    erased rows still are the log's.
    """
    rows = [*_ROWS[:9]]
    rows[5] = dataclasses.replace(
        rows[5], actor_id=DELETED, address="", actor_salt="", object_id=DELETED, content_salt=""
    )
    found = await _compare(rows, [_record(number) for number in range(2, _COUNT)])
    assert (found.first_break, found.compared, found.unchained) == (None, 7, 3)
    none_kept = await _compare(_ROWS, [])
    assert (none_kept.first_break, none_kept.compared) == (None, 0)


async def test_unreadable_records_are_no_rows() -> None:
    """The chain leaves them out; a row in the place of one was put there."""
    records = [_record(number, b"{}" if number == 4 else None) for number in range(_COUNT)]
    rows = _rows_without(4)
    assert (await _compare(rows, records)).first_break is None
    found = (await _compare(_ROWS, records)).first_break
    assert found is not None
    assert (found.position, found.fault) == (4, Fault.NOT_IN_LOG)


@given(place=st.integers(0, _COUNT - 2), at_once=st.integers(1, 5))
async def test_row_that_is_missing_is_found_though_the_chain_holds(place: int, at_once: int) -> None:
    """The newest were taken away before they were anchored, and the chain went on."""
    found = (
        await _compare(_rows_without(place), [_record(n) for n in range(_COUNT)], at_once=at_once)
    ).first_break
    assert found is not None
    assert (found.position, found.fault) == (place, Fault.MISSING)


@given(more=st.integers(0, 20))
async def test_row_that_was_appended_is_found(more: int) -> None:
    """With a right hash, behind the newest row; at an offset that is free, or beyond the
    log's end.
    """
    forged = dataclasses.replace(
        _ROWS[-1],
        position=_COUNT,
        previous_hash=_ROWS[-1].hash,
        offset=_ROWS[-1].offset + 1 + more,
        action="key.forged",
    )
    rows = [*_ROWS, replace_hash(forged)]
    found = (await _compare(rows, [_record(n) for n in range(_COUNT)])).first_break
    assert found is not None
    assert (found.position, found.fault) == (_COUNT, Fault.NOT_IN_LOG)


async def test_row_that_says_other_than_the_log_is_found() -> None:
    """Though all rows behind it were hashed anew."""
    rows = _chained([(n, entry(n, action="key.forged") if n == 3 else entry(n)) for n in range(_COUNT)])
    found = (await _compare(rows, [_record(n) for n in range(_COUNT)])).first_break
    assert found is not None
    assert (found.position, found.fault) == (3, Fault.ALTERED)


def _rows_without(place: int) -> list[AuditRow]:
    return _chained([(n, entry(n)) for n in range(_COUNT) if n != place])


def _chained(entries: Sequence[tuple[int, object]]) -> list[AuditRow]:
    head, rows = Head(), []
    for number, one in entries:
        rows.append(link(head, one, envelope(number), _record(number)))  # type: ignore[arg-type]
        head = rows[-1].head
    return rows
