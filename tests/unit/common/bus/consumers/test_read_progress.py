"""Up to which moment a partition was read."""

from hypothesis import given
from hypothesis import strategies as st

from services.common.bus import ReadProgress


def test_reader_at_the_end_is_at_the_moment_of_the_question() -> None:
    """One that is behind gets there by reading."""
    progress = ReadProgress()
    progress.advance(10)
    progress.observe_end(10, asked_at=1.0)
    assert (progress.current_at, progress.pending) == (1.0, False)
    progress.observe_end(12, asked_at=2.0)
    progress.advance(11)
    assert (progress.current_at, progress.pending) == (1.0, True)
    progress.advance(12)
    assert (progress.current_at, progress.pending) == (2.0, False)


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 5)), max_size=300))
def test_moment_is_never_later_than_what_was_read(steps: list[tuple[bool, int]]) -> None:
    """Whatever the order of questions, records and reads: all that was appended before
    the moment has been read, and a reader at the end is never left behind.
    """
    progress, end, read, time_s = ReadProgress(), 0, 0, 0.0
    appended_at: list[float] = []
    for ask, count in steps:
        time_s += 1
        if ask:
            progress.observe_end(end, asked_at=time_s)
        elif count:
            appended_at += [time_s] * count
            end += count
        else:
            read = min(end, read + 3)
            progress.advance(read)
        assert all(at >= progress.current_at for at in appended_at[read:])
    progress.advance(end)
    progress.observe_end(end, asked_at=time_s + 1)
    assert progress.current_at == time_s + 1
