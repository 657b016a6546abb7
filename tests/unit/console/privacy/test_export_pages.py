"""How much of a person's rows is read at a time."""

from hypothesis import given
from hypothesis import strategies as st

from services.console.privacy.stored.export import pages


@given(st.lists(st.integers(0, 50), min_size=1), st.integers(1, 100))
def test_page_is_as_large_as_it_may_be_and_no_row_is_left_out(sizes: list[int], most: int) -> None:
    """A row that is larger comes alone; the next row would not have fitted."""
    counts, begin = list(pages(sizes, most)), 0
    assert sum(counts) == len(sizes)
    for count in counts:
        page, following = sizes[begin : begin + count], sizes[begin + count : begin + count + 1]
        assert count == 1 or sum(page) <= most
        assert not following or sum(page) + following[0] > most
        begin += count
