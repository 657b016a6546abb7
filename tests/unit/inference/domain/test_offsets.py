"""The offset tracker: whatever order requests end in, a commit describes exactly what
is done.
"""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.inference.domain.offsets import (
    MAX_METADATA_CHARS,
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


@pytest.mark.parametrize("gap", [2, 3, 40, 5000])
def test_metadata_while_there_is_room_fits_into_kafkas_limit(gap: int) -> None:
    """Reading stops while lone pending records, however far apart, still fit."""
    tracker = OffsetTracker(0)
    for offset in range(600 * gap if gap > 100 else 40_000):
        if not tracker.has_room(tracker.unfinished):
            break
        tracker.read(offset)
        if offset % gap:
            tracker.finish(offset)
    assert tracker.unfinished > 500
    assert len(tracker.commit_point()[1]) <= MAX_METADATA_CHARS


@given(backlog=st.integers(0, 40_000), share=st.integers(1, 50), seed=st.randoms(use_true_random=False))
@settings(max_examples=30, deadline=None)
def test_metadata_of_a_backlog_fits_in_whatever_order_the_active_end(
    backlog: int, share: int, seed: random.Random
) -> None:
    """A lane is read behind tens of thousands of pending records; then any of those that
    are held end, in any order.
    """
    tracker = OffsetTracker(0)
    held: list[int] = []
    for offset in range(backlog):
        if len(held) > 1000 or not tracker.has_room(len(held)):
            break
        tracker.read(offset)
        if offset % share == 0:
            held.append(offset)
    seed.shuffle(held)
    for offset in held[: len(held) // 2]:
        tracker.finish(offset)
    committed, metadata = tracker.commit_point()
    assert len(metadata) <= MAX_METADATA_CHARS
    restored = OffsetTracker.restore(committed, metadata)
    assert restored.has_room(0)
    for offset in range(committed, tracker.next_offset):
        assert restored.read(offset) != tracker.is_finished(offset)


def test_has_room_backlog_in_one_piece_is_read_far_beyond_the_bits() -> None:
    """One tenant's flood is one run: what comes behind it is read."""
    tracker = OffsetTracker(0)
    for offset in range(60_000):
        tracker.read(offset)
    assert tracker.has_room(200)
    assert not tracker.has_room(1000)


def test_metadata_beyond_kafkas_limit_is_refused() -> None:
    """What does not fit is never committed in part."""
    with pytest.raises(OffsetMapTooLongError, match="pending records"):
        _every_second_done(60_000).commit_point()


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
