"""What a client gets of a reply stream whose answer is looked at."""

from datetime import UTC, datetime, timedelta

from schemas.base import AnswerHandling
from schemas.errors import ErrorCode
from schemas.inference import Delivered, End, InferenceRequested, Lane, Outcome, Piece, ReplyTo
from services.common.requests.shared_room import SharedRoom
from services.gateway.streams.admitted import Admitted
from services.gateway.streams.idempotency.recording import Recorder, replayed
from services.gateway.streams.output_filter.sealing import PromptValues, seal
from services.gateway.streams.reply_stream import Arrival, ReplyStream
from tests.unit.gateway.streams.stage import Stage, chunk, lost, make_stage

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
MAIL = "jean.dupont@example.fr"
KEY = "ghp_aB3dE5gH7jK9mN1pQ3sT5vW7yZ9bC1dE3fG5"
PEPPER = "p" * 16


def follow(stage: Stage, *, replaying: bool = False, leaks: str = "cut") -> ReplyStream:
    """A reply stream of a masked prompt's answer."""
    request = InferenceRequested(
        request_id="r",
        kind="chat",
        model="m",
        lane=Lane.INTERACTIVE,
        tenant="t",
        key_id="k",
        stream=True,
        reply_to=ReplyTo(partition=0, gateway_id="g"),
        requested_at=NOW,
        deadline=NOW + timedelta(seconds=60),
    )
    sealed = seal(PromptValues({"[EMAIL_1]": MAIL}), request, PEPPER)
    handling = AnswerHandling.model_validate({"sealed": sealed, "leaks": leaks})
    request = request.model_copy(update={"answer": handling})
    [place] = stage.registry.take_slots("t")
    return stage.registry.follow(Admitted(request, place), stage.reader, replaying=replaying)


def text(arrivals: list[Arrival]) -> str:
    """What the client reads."""
    return "".join(piece.text for one in arrivals for piece in one.pieces)


async def test_next_attempt_continues_what_the_model_said_not_what_the_client_read() -> None:
    """Placeholders go back to the model, half ones too; values do not."""
    stage = make_stage()
    reply_stream = follow(stage)
    stage.hear(reply_stream, chunk(0, "I am [EMAIL_1] and more words are here [EMA"))
    told = text(await reply_stream.take(0))
    assert MAIL in told
    assert "[EMA" not in told
    stage.hear(reply_stream, lost())
    [again] = stage.publisher.asked
    assert again.delivered == (Delivered(text="I am [EMAIL_1] and more words are here [EMA", tokens=1),)
    assert again.answer == reply_stream.request.answer
    assert MAIL not in again.encode().decode()
    second = chunk(0, "IL_1].", End(outcome=Outcome.COMPLETED)).model_copy(update={"attempt": 2})
    stage.hear(reply_stream, second)
    assert text(await reply_stream.take(0)).endswith(f"{MAIL}.")


async def test_cut_answer_is_taken_back_once_and_ends_well_for_the_client() -> None:
    """Whatever the record says of the rest."""
    stage = make_stage()
    reply_stream = follow(stage)
    stage.hear(reply_stream, chunk(0, f"Take {KEY} as long as you like it so "))
    stage.hear(reply_stream, chunk(1, "and more of it "))
    assert stage.publisher.cancelled == [ErrorCode.CONTENT_FILTER]
    stage.hear(reply_stream, chunk(2, "", End(outcome=Outcome.CANCELLED)))
    arrivals = await reply_stream.take(0)
    pieces = [piece for one in arrivals for piece in one.pieces]
    assert "".join(piece.text for piece in pieces) == "Take "
    assert [piece.finish_reason for piece in pieces if piece.finish_reason] == ["content_filter"]
    assert arrivals[-1].end is not None
    assert arrivals[-1].end.outcome is Outcome.COMPLETED


async def test_who_reattaches_gets_the_same_arrivals_and_takes_nothing_back_twice() -> None:
    """From the log alone; one that comes while the answer still goes on takes it back,
    as the gateway before it may have died of just that.
    """
    stage = make_stage()
    records = [
        chunk(0, f"I am [EMAIL_1]. Take {KEY} as long "),
        chunk(1, "as you like it so "),
        chunk(2, "x "),
    ]
    first = follow(stage)
    for record in records:
        stage.hear(first, record)
    again = follow(stage, replaying=True)
    again.go_live(list(enumerate(records, 1)), 0.0)
    assert await again.take(0) == await first.take(0)
    assert len(stage.publisher.cancelled) == 2
    ended = follow(stage, replaying=True)
    end = chunk(3, "", End(outcome=Outcome.COMPLETED))
    ended.go_live(list(enumerate([*records, end], 1)), 0.0)
    assert len(stage.publisher.cancelled) == 2


async def test_recorded_answer_is_the_clients_and_replayed_as_it_is() -> None:
    """Kept for a key: nothing is unsealed or looked at again."""
    stage = make_stage()
    reply_stream = follow(stage, leaks="mask")
    recorder = Recorder(reply_stream.request, SharedRoom(10**6))
    reply_stream.listen(recorder.hear)
    end = End(outcome=Outcome.COMPLETED)
    stage.hear(reply_stream, chunk(0, f"[EMAIL_1] has {KEY} ", end))
    answer = recorder.recorded()
    assert answer is not None
    assert answer.request.answer is None
    assert answer.pieces[0].text == f"{MAIL} has [REDACTED SECRET] "
    told = await replayed(answer, 0.0).take(0)
    assert text(told) == answer.pieces[0].text


def test_piece_of_an_unknown_choice_changes_nothing() -> None:
    """Another version may say what this one does not know."""
    stage = make_stage()
    reply_stream = follow(stage)
    odd = chunk(0).model_copy(update={"pieces": (Piece(index=7, text="x"), Piece(index=-1, text="y"))})
    stage.hear(reply_stream, odd)
    assert reply_stream.problem is None
