"""Tokens become pieces without a token or a character going astray."""

from hypothesis import given
from hypothesis import strategies as st

from services.inference.domain.choice_text import ChoiceText
from services.inference.engines.base import Piece, TokenLogprob

TOKENS = st.lists(st.text(alphabet="ab,", max_size=3), min_size=1, max_size=20)


def write_in_groups(tokens: list[str], sizes: list[int], stops: list[str]) -> list[Piece]:
    """Writes tokens in groups of the given sizes, the rest as the last one."""
    choice = ChoiceText(0, stops)
    logprobs = [TokenLogprob(token=token, logprob=-1.0) for token in tokens]
    pieces, position = [], 0
    for size in [*sizes, len(tokens)]:
        end = min(position + size, len(tokens))
        piece = choice.write(
            tokens[position:end], logprobs[position:end], end="length" if end == len(tokens) else None
        )
        position = end
        if piece:
            pieces.append(piece)
        if choice.finished:
            break
    return pieces


@given(
    tokens=TOKENS,
    sizes=st.lists(st.integers(1, 5), max_size=20),
    stops=st.lists(st.text(alphabet="ab,", min_size=1, max_size=4), max_size=2),
)
def test_choice_text_any_grouping_gives_the_same_text_tokens_and_end(
    tokens: list[str], sizes: list[int], stops: list[str]
) -> None:
    """How many tokens come at once changes neither text nor count nor reason."""
    together = write_in_groups(tokens, [], stops)
    apart = write_in_groups(tokens, sizes, stops)
    for pieces in (together, apart):
        assert [piece.finish_reason for piece in pieces[:-1]] == [None] * (len(pieces) - 1)
        assert all(piece.tokens == len(piece.logprobs or ()) for piece in pieces)
    assert "".join(piece.text for piece in apart) == "".join(piece.text for piece in together)
    assert apart[-1].finish_reason == together[-1].finish_reason


@given(
    tokens=st.lists(st.text(alphabet="ab,", min_size=1, max_size=3), min_size=1, max_size=20),
    sizes=st.lists(st.integers(1, 5), max_size=20),
)
def test_choice_text_with_a_stop_counts_tokens_up_to_the_one_that_completes_it(
    tokens: list[str], sizes: list[int]
) -> None:
    """The count is the same for every grouping: a stopped choice does not count what
    came after in the same step.
    """
    stops = ["ba", ",,"]
    counts = {
        sum(piece.tokens for piece in write_in_groups(tokens, grouping, stops))
        for grouping in ([], sizes, [1] * len(tokens))
    }
    assert len(counts) == 1


def test_choice_text_holding_a_token_back_counts_it_with_its_text() -> None:
    """A token whose text may begin a stop string counts in the piece that brings it."""
    choice = ChoiceText(3, ["XYZ"])
    assert choice.write(["one", " X"]) == Piece(index=3, text="one ", tokens=1)
    assert choice.write(["Y"]) is None
    assert choice.write(["!"]) == Piece(index=3, text="XY!", tokens=3)
    assert choice.write([], end="length") == Piece(index=3, text="", tokens=0, finish_reason="length")
    assert choice.finished
    assert choice.tokens == 4
