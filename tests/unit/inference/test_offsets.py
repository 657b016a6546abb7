"""The offset tracker: whatever order requests end in, a commit describes exactly what
is done.
"""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.inference.domain.offsets import (
    MAX_METADATA_CHARS,
    MAX_UNFINISHED,
    OffsetMapTooLongError,
    OffsetTracker,
)


@given(start=st.integers(0, 10**6), ends=st.lists(st.booleans(), max_size=300))
def test_restored_tracker_any_pattern_of_ends_agrees_with_the_original(start: int, ends: list[bool]) -> None:
    """A takeover reads from the commit exactly which records are done, and which are to
    be read again.
    """
    tracker = OffsetTracker(start)
    for position, ended in enumerate(ends):
        assert tracker.read(start + position)
        if ended:
            tracker.finish(start + position)
    committed, metadata = tracker.commit_point()
    restored = OffsetTracker.restore(committed, metadata)
    for position, ended in enumerate(ends):
        offset = start + position
        assert restored.is_finished(offset) == (offset < committed or (ended and offset >= committed))
        if offset >= committed:
            assert restored.read(offset) is not ended


@given(order=st.permutations(range(40)), cut=st.integers(0, 40))
def test_commit_point_ends_in_any_order_never_passes_a_pending_record(order: list[int], cut: int) -> None:
    """The committed offset is the lowest pending one; with none pending it is the end
    of what was read.
    """
    tracker = OffsetTracker(0)
    for offset in range(40):
        tracker.read(offset)
    for offset in order[:cut]:
        tracker.finish(offset)
    pending = set(order[cut:])
    assert tracker.commit_point()[0] == (min(pending) if pending else 40)
    assert tracker.unfinished == len(pending)


def test_restored_tracker_before_rereading_commits_what_it_was_given() -> None:
    """A commit made before the old records are read again loses none of them."""
    restored = OffsetTracker.restore(*_every_second_done(20).commit_point())
    assert restored.commit_point() == _every_second_done(20).commit_point()


def test_metadata_worst_case_of_the_window_fits_into_kafkas_limit() -> None:
    """A thousand lone pending records, thousands of offsets apart, still fit."""
    tracker = OffsetTracker(0)
    for offset in range(MAX_UNFINISHED * 5000):
        tracker.read(offset)
        if offset % 5000:
            tracker.finish(offset)
    assert len(tracker.commit_point()[1]) <= MAX_METADATA_CHARS


def test_metadata_beyond_kafkas_limit_is_refused() -> None:
    """What does not fit is never committed in part."""
    with pytest.raises(OffsetMapTooLongError, match="pending records"):
        _every_second_done(8000).commit_point()


def test_restore_foreign_metadata_says_so() -> None:
    """Another program's commit is not taken for ours."""
    with pytest.raises(ValueError, match="not a map of finished offsets"):
        OffsetTracker.restore(3, "checkpoint")


def test_forget_before_log_start_drops_what_retention_took() -> None:
    """Records that the log no longer holds cannot be read again, so they are not waited
    for.
    """
    restored = OffsetTracker.restore(*_every_second_done(20).commit_point())
    assert restored.forget_before(10) == 5
    assert restored.commit_point()[0] == 10


def _every_second_done(count: int) -> OffsetTracker:
    tracker = OffsetTracker(0)
    for offset in range(count):
        tracker.read(offset)
        if offset % 2:
            tracker.finish(offset)
    return tracker
