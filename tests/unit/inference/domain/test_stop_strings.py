"""Stop strings are found whatever the pieces."""

from hypothesis import example, given
from hypothesis import strategies as st

from services.inference.domain.stop_strings import StopScanner

LETTERS = st.text(alphabet="ab,", max_size=12)


def expected_text(text: str, stops: list[str]) -> str:
    """By the rule: the stop string that ends first wins, of those that end together the
    longest.
    """
    for end in range(len(text) + 1):
        ending = [stop for stop in stops if text[:end].endswith(stop)]
        if ending:
            return text[: end - max(map(len, ending))]
    return text


@given(
    pieces=st.lists(LETTERS, max_size=8),
    stops=st.lists(st.text(alphabet="ab,", min_size=1, max_size=4), max_size=3),
)
@example(pieces=["abcd"], stops=["abcd", "c"])
@example(pieces=["a", "aab"], stops=["ab"])
def test_stop_scanner_any_pieces_gives_text_before_first_stop(pieces: list[str], stops: list[str]) -> None:
    """However the text is cut, what comes out is the text before the stop string."""
    scanner = StopScanner(stops)
    text = "".join(scanner.feed(piece) for piece in pieces) + scanner.flush()
    assert text == expected_text("".join(pieces), stops)


@given(
    pieces=st.lists(LETTERS, max_size=8),
    stops=st.lists(st.text(alphabet="ab,", min_size=1, max_size=4), min_size=1, max_size=3),
)
def test_stop_scanner_at_any_time_leaks_no_beginning_of_a_stop(pieces: list[str], stops: list[str]) -> None:
    """While the text so far ends in the beginning of a stop string, that beginning is
    not out.
    """
    scanner = StopScanner(stops)
    fed = out = ""
    for piece in pieces:
        fed, out = fed + piece, out + scanner.feed(piece)
        if scanner.stopped_at is None:
            beginnings = [
                stop[:length]
                for stop in stops
                for length in range(1, len(stop))
                if fed.endswith(stop[:length])
            ]
            assert len(out) <= len(fed) - max(map(len, beginnings), default=0)


@given(
    delivered=LETTERS,
    rest=LETTERS,
    stops=st.lists(st.text(alphabet="ab,", min_size=2, max_size=4), min_size=1, max_size=2),
)
def test_stop_scanner_after_delivered_text_finds_a_stop_that_begins_in_it(
    delivered: str, rest: str, stops: list[str]
) -> None:
    """A stop string that straddles what was delivered ends the text; what is out stays
    out.
    """
    if expected_text(delivered, stops) != delivered:
        return
    scanner = StopScanner(stops, delivered=delivered)
    text = scanner.feed(rest) + scanner.flush()
    assert delivered + text == max(delivered, expected_text(delivered + rest, stops), key=len)


def test_stop_scanner_after_a_stop_says_where_it_ended() -> None:
    """The position counts what was fed, so that tokens can be counted up to it."""
    scanner = StopScanner(["XY"])
    assert scanner.feed("one X") == "one "
    assert scanner.feed("Y two") == ""
    assert scanner.stopped_at == 6
    assert scanner.feed("three") == ""
    assert scanner.flush() == ""
