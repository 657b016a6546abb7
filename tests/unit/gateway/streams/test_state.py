"""The attempt logic: whatever is lost, doubled, late or dead, the client gets one whole
text.
"""

from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.inference import (
    Delivered,
    End,
    LogPosition,
    Outcome,
    Piece,
    ReplyBeat,
    ReplyChunk,
    ReplyEnded,
    RetryNeeded,
)
from services.gateway.streams.state import Phase, Step, StreamReply, StreamState, advance, new_stream

ORIGIN = LogPosition(topic="t", partition=0, offset=1)
DONE = End(outcome=Outcome.COMPLETED)


def chunk(
    seq: int,
    text: str = "",
    *,
    attempt: int = 1,
    replica: str = "a",
    end: End | None = None,
    finish: str | None = None,
    index: int = 0,
) -> ReplyChunk:
    """A chunk with one piece."""
    piece = Piece(index=index, text=text, tokens=len(text), finish_reason=finish)
    return ReplyChunk(
        request_id="r", tenant="t", attempt=attempt, replica_id=replica, seq=seq, pieces=(piece,), end=end
    )


def beat(*, attempt: int = 1, replica: str = "a") -> ReplyBeat:
    """A sign of life."""
    return ReplyBeat(request_id="r", attempt=attempt, replica_id=replica)


def retry(attempt: int = 1) -> RetryNeeded:
    """The dispatcher's news of a death."""
    return RetryNeeded(request_id="r", tenant="t", attempt=attempt, reason="no heartbeat", origin=ORIGIN)


def ended(end: End = DONE, *, attempt: int = 1, choices: tuple[Delivered, ...] = ()) -> ReplyEnded:
    """The dispatcher's end."""
    return ReplyEnded(request_id="r", tenant="t", attempt=attempt, end=end, choices=choices)


def play(*replies: StreamReply, choices: int = 1, max_attempts: int = 5) -> list[Step]:
    """The steps that replies lead to."""
    state, steps = new_stream(choices, max_attempts=max_attempts), []
    for reply in replies:
        steps.append(advance(state, reply))
        state = steps[-1].state
    return steps


def text_of(steps: list[Step], index: int = 0) -> str:
    """What the client got of a choice."""
    return "".join(piece.text for step in steps for piece in step.pieces if piece.index == index)


def test_stream_undisturbed_delivers_and_ends() -> None:
    """Chunks in order are delivered as they come, and the end ends."""
    steps = play(chunk(0, "a"), chunk(1, "b", finish="stop", end=DONE))
    assert text_of(steps) == "ab"
    assert steps[-1].end == DONE
    assert steps[-1].state.phase is Phase.ENDED


@pytest.mark.parametrize(
    ("late", "why"),
    [
        (chunk(0, "x"), "repeat"),
        (chunk(1, "x", replica="b"), "other_replica"),
        (beat(replica="b"), "other_replica"),
        (chunk(1, "x", attempt=2), "unknown_attempt"),
        (retry(2), "repeat"),
    ],
)
def test_reply_that_is_not_the_next_is_ignored_with_its_reason(late: StreamReply, why: str) -> None:
    """Repeats, strangers and attempts that nobody asked for change nothing, and are
    counted by why.
    """
    steps = play(chunk(0, "a"), late, chunk(1, "b"))
    assert (steps[1].ignored, steps[1].state) == (why, steps[0].state)
    assert text_of(steps) == "ab"


def test_gap_ends_the_attempt() -> None:
    """A chunk that follows on one that is missing is not delivered: the next attempt is
    asked for behind what was.
    """
    steps = play(chunk(0, "a"), chunk(2, "c"), chunk(0, "b", attempt=2, replica="b"))
    assert steps[1].retry == "gap"
    assert steps[1].state.choices[0].text == "a"
    assert text_of(steps) == "ab"


def test_retry_needed_moves_to_the_next_attempt_once() -> None:
    """The first news of a death counts; the second, and whatever the dead replica still
    says, do not.
    """
    steps = play(chunk(0, "a"), retry(), retry(), chunk(1, "late"), chunk(0, "b", attempt=2))
    assert (steps[1].retry, steps[1].previous, steps[1].state.attempt) == ("no heartbeat", ORIGIN, 2)
    assert [step.ignored for step in steps] == ["", "", "repeat", "older_attempt", ""]
    assert text_of(steps) == "ab"


def test_attempts_are_bounded() -> None:
    """The last attempt's death is the request's end."""
    steps = play(retry(1), retry(2), max_attempts=2)
    assert steps[-1].end is not None
    assert steps[-1].end.error is not None
    assert steps[-1].end.error.code == "attempts_exhausted"


def test_replica_that_gives_up_is_followed_by_the_next_attempt() -> None:
    """A retryable end is not the client's end; what came with it is delivered."""
    steps = play(chunk(0, "a", end=End(outcome=Outcome.FAILED, retryable=True)))
    assert (steps[0].end, steps[0].retry, text_of(steps)) == (None, "replica_gave_up", "a")


def test_lost_end_is_told_again_without_delivering() -> None:
    """Where the end never reached the dispatcher, the next attempt carries it; the
    client hears nothing.
    """
    steps = play(chunk(0, "a", finish="stop", end=DONE), retry(), retry(), chunk(0, "x", attempt=2))
    assert (steps[1].retry, steps[1].previous, steps[1].state.end) == ("end_lost", ORIGIN, DONE)
    assert [step.ignored for step in steps[2:]] == ["after_end", "after_end"]
    assert text_of(steps) == "a"


def test_dispatchers_end_with_the_whole_text_delivers_the_rest() -> None:
    """An attempt that came after the request was complete gets what the client lacks."""
    steps = play(
        chunk(0, "ab"),
        retry(),
        ended(attempt=2, choices=(Delivered(text="abcd", tokens=4, finish_reason="length"),)),
    )
    assert text_of(steps) == "abcd"
    assert steps[-1].state.choices[0] == Delivered(text="abcd", tokens=4, finish_reason="length")


def test_dispatchers_end_with_another_text_fails() -> None:
    """A whole text that does not continue what was delivered is never glued on."""
    steps = play(chunk(0, "ab"), ended(choices=(Delivered(text="xyz"),)))
    assert text_of(steps) == "ab"
    assert steps[-1].end is not None
    assert steps[-1].end.outcome is Outcome.FAILED


@pytest.mark.parametrize(("attempt", "ends"), [(1, False), (2, True), (3, True)])
def test_dispatchers_end_counts_for_the_current_attempt_and_later_ones(attempt: int, *, ends: bool) -> None:
    """What a dispatcher says of an attempt that is over comes too late."""
    assert (play(retry(), ended(End(outcome=Outcome.EXPIRED), attempt=attempt))[-1].end is not None) is ends


def test_completion_without_finish_reason_is_finished() -> None:
    """Every choice of a completed request has a finish reason."""
    steps = play(chunk(0, "a", end=DONE), choices=2)
    assert [choice.finish_reason for choice in steps[-1].state.choices] == ["stop", "stop"]


def test_piece_of_a_finished_or_unknown_choice_is_left_out() -> None:
    """Nothing follows a finish reason."""
    steps = play(chunk(0, "a", finish="stop"), chunk(1, "b"), chunk(2, "c", index=7))
    assert text_of(steps) == "a"


@dataclass
class World:
    """Replicas, dispatcher and bus as unkind as they may be.

    It writes the log; the stream's state is read from the log alone.
    """

    whole: list[list[str]]
    draw: st.DataObject
    log: list[StreamReply] = field(default_factory=list)
    state: StreamState = field(init=False)
    steps: list[Step] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.state = new_stream(len(self.whole), max_attempts=50)

    def write(self, reply: StreamReply) -> None:
        """Appends to the log, perhaps with old records in front."""
        for old in self.draw.draw(st.lists(st.sampled_from(self.log), max_size=2)) if self.log else []:
            self._append(old)
        self._append(reply)

    def run(self) -> None:
        """Attempts, until one comes to its end."""
        for _ in range(8):
            if self.state.phase is not Phase.ENDED:
                self.attempt(may_die=True)
        if self.state.phase is not Phase.ENDED:
            self.attempt(may_die=False)

    def attempt(self, *, may_die: bool) -> None:
        """One attempt: a replica continues behind what was delivered, in chunks, and
        may die, stall or have chunks lost.
        """
        attempt, delivered = self.state.attempt, self.state.choices
        if may_die and self.draw.draw(st.booleans(), "dies before it begins"):
            self.write(retry(attempt))
            return
        for number, reply in enumerate(self.replica(attempt, delivered)):
            fate = (
                self.draw.draw(
                    st.sampled_from(["goes well"] * 4 + ["is lost", "dies before"]), f"chunk {number}"
                )
                if may_die
                else "goes well"
            )
            if fate == "dies before":
                self.write(retry(attempt))
                return
            if fate == "goes well":
                self.write(reply)
            if self.state.attempt != attempt or self.state.phase is Phase.ENDED:
                return
        self.write(retry(attempt))

    def replica(self, attempt: int, delivered: tuple[Delivered, ...]) -> list[ReplyChunk]:
        """The chunks of an attempt."""
        rest = [words[have.tokens :] for words, have in zip(self.whole, delivered, strict=True)]
        size = self.draw.draw(st.integers(1, 3), "words a chunk")
        count = max(1, *(-(-len(words) // size) for words in rest))
        replies = []
        for seq in range(count):
            pieces = []
            for index, words in enumerate(rest):
                part, last = words[seq * size : (seq + 1) * size], (seq + 1) * size >= len(words)
                if delivered[index].finish_reason is None and (part or last) and seq * size <= len(words):
                    pieces.append(
                        Piece(
                            index=index,
                            text="".join(part),
                            tokens=len(part),
                            finish_reason="stop" if last else None,
                        )
                    )
            end = DONE if seq == count - 1 else None
            replies.append(
                ReplyChunk(
                    request_id="r",
                    tenant="t",
                    attempt=attempt,
                    replica_id=f"r{attempt}",
                    seq=seq,
                    pieces=tuple(pieces),
                    end=end,
                )
            )
        return replies

    def _append(self, reply: StreamReply) -> None:
        self.log.append(reply)
        step = advance(self.state, reply)
        self.steps.append(step)
        self.state = step.state


@given(
    st.data(), st.lists(st.lists(st.text("abc", min_size=1, max_size=3), max_size=6), min_size=1, max_size=3)
)
def test_any_interleaving_of_deaths_losses_and_repeats_gives_one_whole_text(
    data: st.DataObject, whole: list[list[str]]
) -> None:
    """Whatever happens on the way, the pieces join into each choice's whole text, the
    end comes once, and a second reader of the log agrees.
    """
    world = World(whole, data)
    world.run()
    assert [text_of(world.steps, index) for index in range(len(whole))] == ["".join(words) for words in whole]
    assert [step.end for step in world.steps if step.end] == [DONE]
    assert all(choice.finish_reason == "stop" for choice in world.state.choices)
    again = play(*world.log, choices=len(whole), max_attempts=50)
    assert [step.pieces for step in again] == [step.pieces for step in world.steps]
    assert [step.retry for step in again] == [step.retry for step in world.steps]


def test_first_tokens_time_is_that_of_the_attempt_that_gave_it() -> None:
    """Two deaths later the state still has it; an attempt that died without a word
    leaves none.
    """
    steps = play(
        beat(),
        retry(),
        chunk(0, "a", attempt=2).model_copy(update={"queue_ms": 7.0, "ttft_ms": 9.0}),
        chunk(1, "b", attempt=2),
        retry(2),
        chunk(0, "c", attempt=3).model_copy(update={"queue_ms": 70.0, "ttft_ms": 90.0}),
        chunk(1, "", attempt=3, end=DONE),
    )
    assert [step.state.ttft_ms for step in steps] == [None, None, 9.0, 9.0, 9.0, 9.0, 9.0]
    assert steps[-1].state.queue_ms == 7.0
