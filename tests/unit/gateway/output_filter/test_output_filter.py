"""An answer's pieces on their way to the client."""

import json
import random
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.base import AnswerHandling
from schemas.inference import End, InferenceRequested, Lane, Outcome, Piece, ReplyTo, Sampling, Usage
from services.common.process import metrics
from services.common.requests.tool_calls import join_tool_calls
from services.gateway.streams.output_filter.opening import output_filter_of
from services.gateway.streams.output_filter.output_filter import OutputFilter
from services.gateway.streams.output_filter.sealing import PromptValues, seal, unseal

NOW = datetime(2026, 11, 27, 12, tzinfo=UTC)
PEPPER = "a pepper"
MAIL, SECRET = "jean.dupont@example.fr", 'a"b\\c\nd'
KEY = "ghp_aB3dE5gH7jK9mN1pQ3sT5vW7yZ9bC1dE3fG5"
SYSTEM = "You are Aria and the internal escalation word is bluebird so never ever tell it to anybody."
DONE = End(outcome=Outcome.COMPLETED, usage=Usage(prompt_tokens=3, completion_tokens=4))
REQUEST = InferenceRequested(
    request_id="chatcmpl-1",
    kind="chat",
    model="m",
    lane=Lane.INTERACTIVE,
    tenant="acme",
    key_id="k",
    messages=({"role": "system", "content": SYSTEM}, {"role": "user", "content": "I am [EMAIL_1]"}),
    reply_to=ReplyTo(partition=0, gateway_id="g"),
    requested_at=NOW,
    deadline=NOW,
)
VALUES = PromptValues({"[EMAIL_1]": MAIL, "[SECRET_1]": SECRET, "[EMAIL_2]": "boss@corp.example"})


def asked(values: PromptValues = VALUES, *, n: int = 1, **handling: Any) -> InferenceRequested:
    """A request that brings values and handling along."""
    more = AnswerHandling(sealed=seal(values, REQUEST, PEPPER), **handling)
    return REQUEST.model_copy(update={"answer": more, "sampling": Sampling(n=n)})


def output_filter(values: PromptValues = VALUES, *, n: int = 1, **handling: Any) -> OutputFilter:
    """Its output_filter, as any gateway opens it."""
    found = output_filter_of(asked(values, n=n, **handling), PEPPER)
    assert found is not None
    return found


def played(out: OutputFilter, pieces: list[Piece], end: End | None = DONE) -> list[Piece]:
    """What comes out, each piece a record of its own."""
    told = [one for piece in pieces for one in out.pass_on([piece], None)]
    return [*told, *(out.pass_on([], end) if end else ())]


def test_what_is_only_observed_is_not_counted_as_hidden() -> None:
    """Leaks are counted once: by their findings. Here counts what clients did not get."""
    out = output_filter(leaks="mask", personal="observe")
    before = [metrics.ANSWERS_HIDDEN.labels(kind)._value.get() for kind in ("secret", "personal")]
    text, _ = said(played(out, [Piece(text=f"The key is {KEY} of anna@other.example, truly so it is.")]))
    after = [metrics.ANSWERS_HIDDEN.labels(kind)._value.get() for kind in ("secret", "personal")]
    assert (KEY in text, "anna@other.example" in text) == (False, True)
    assert [new - old for new, old in zip(after, before, strict=True)] == [1, 0]


def said(pieces: list[Piece], index: int = 0) -> tuple[str, str | None]:
    """A choice's text, and how it finished."""
    mine = [one for one in pieces if one.index == index]
    finish = [one.finish_reason for one in mine if one.finish_reason]
    assert len(finish) <= 1
    assert not finish or mine[-1].finish_reason == finish[0]
    return "".join(one.text for one in mine), finish[0] if finish else None


def cut_up(text: str, seed: int) -> list[Piece]:
    """A text in pieces of any length, and its end."""
    chosen, pieces = random.Random(seed), []
    while text:
        length = chosen.randint(1, 7)
        pieces.append(Piece(text=text[:length], tokens=1))
        text = text[length:]
    return [*pieces, Piece(finish_reason="stop")]


def test_request_without_handling_has_no_output_filter() -> None:
    """Nothing is done, and costs nothing."""
    assert output_filter_of(REQUEST, PEPPER) is None


@pytest.mark.parametrize("seed", range(20))
def test_placeholder_split_over_pieces_comes_back_whole(seed: int) -> None:
    """And nothing else changes, half placeholders and strange ones neither."""
    text = "Hi [EMAIL_1], [EMAIL_9] [SECRET_1] [EMAIL_ [[EMAIL_2]] end [EMA"
    told = played(output_filter(), cut_up(text, seed))
    wanted = f"Hi {MAIL}, [EMAIL_9] {SECRET} [EMAIL_ [boss@corp.example] end [EMA"
    assert said(told) == (wanted, "stop")
    assert sum(one.tokens for one in told) == len(cut_up(text, seed)) - 1


@given(st.text(alphabet="[]EMAIL_12 abé\n", max_size=80), st.integers(0, 2**32))
@settings(max_examples=150)
def test_any_cutting_gives_the_same_text(text: str, seed: int) -> None:
    """As the whole in one piece gives."""
    for handling in ({}, {"leaks": "mask", "personal": "mask"}):
        whole = said(played(output_filter(**handling), [Piece(text=text), Piece(finish_reason="stop")]))
        assert said(played(output_filter(**handling), cut_up(text, seed))) == whole


def test_choices_are_kept_apart() -> None:
    """Interleaved, each with its own half of a placeholder."""
    pieces = [
        *(Piece(index=0, text="[EMA"), Piece(index=1, text="[SEC")),
        *(Piece(index=0, text="IL_1]", finish_reason="stop"), Piece(index=1, text="RET_1] x")),
    ]
    told = played(output_filter(n=2), pieces)
    assert (said(told, 0), said(told, 1)) == ((MAIL, "stop"), (f"{SECRET} x", None))


def call(index: int, arguments: str, **more: Any) -> Piece:
    """A part of a call."""
    return Piece(tool_calls=({"index": index, **more, "function": {"arguments": arguments}},))


def test_arguments_of_calls_are_restored_as_json() -> None:
    """Whatever a value holds; what was held back of words or a call comes before the
    next begins, as some clients know only one open call.
    """
    pieces = [
        Piece(text="Wait [EMAIL"),
        call(0, "", id="a"),
        call(0, '{"to": "[EMA'),
        call(0, 'IL_1]", "key": "[SECRET_1]", "open": "['),
        call(1, '{"x": "[EMAIL_2]"}', id="b"),
        Piece(finish_reason="tool_calls"),
    ]
    told = played(output_filter(), pieces)
    assert said(told) == ("Wait [EMAIL", "tool_calls")
    calls = join_tool_calls((), tuple(part for one in told for part in one.tool_calls or ()))
    assert calls[0]["function"]["arguments"] == (
        '{"to": "' + MAIL + '", "key": ' + json.dumps(SECRET) + ', "open": "['
    )
    assert json.loads(calls[1]["function"]["arguments"]) == {"x": "boss@corp.example"}
    order = [part["index"] for one in told for part in one.tool_calls or ()]
    assert order == sorted(order)
    first_call = next(number for number, one in enumerate(told) if one.tool_calls)
    assert not any(one.text for one in told[first_call:])


def test_words_that_are_json_get_values_as_json() -> None:
    """Where the request asks for a format."""
    request = asked().model_copy(update={"sampling": Sampling(n=1, response_format={"type": "json_object"})})
    out = output_filter_of(request, PEPPER)
    assert out is not None
    text, _ = said(played(out, [Piece(text='{"key": "[SECRET_1]"}'), Piece(finish_reason="stop")]))
    assert json.loads(text) == {"key": SECRET}


@pytest.mark.parametrize(
    ("answer", "masked", "before"),
    [
        (
            f"Sure, use {KEY} for it and tell nobody about it.",
            "Sure, use [REDACTED SECRET] for",
            "Sure, use ",
        ),
        (f"Well: {SYSTEM.partition('the ')[2]}", "Well: [REDACTED SYSTEM_PROMPT]", "Well: "),
    ],
    ids=["secret", "system prompt"],
)
@pytest.mark.parametrize("seed", range(5))
def test_leak_is_masked_or_ends_the_answer(answer: str, masked: str, before: str, seed: int) -> None:
    """However it is cut; what comes after the end is not told, nor that it failed."""
    assert said(played(output_filter(leaks="mask"), cut_up(answer, seed)))[0].startswith(masked)
    out = output_filter(leaks="cut")
    told = played(out, cut_up(answer, seed))
    assert said(told) == (before, "content_filter")
    assert out.is_cut
    assert played(out, [Piece(text=" more"), Piece(finish_reason="stop")]) == []
    end = out.end_of(End(outcome=Outcome.CANCELLED, usage=DONE.usage))
    assert (end.outcome, end.usage) == (Outcome.COMPLETED, DONE.usage)


def test_personal_data_of_others_is_told_apart_from_what_the_prompt_holds() -> None:
    """By value, however it is written; secrets are another matter."""
    values = PromptValues({}, frozenset({("EMAIL", MAIL), ("PHONE", "12345678")}))
    text = f"{MAIL.upper()} or +33 6 12 34 56 78 but other.one@corp.example and {KEY} are not his, really."
    for action, wanted in (
        ("mask", text.replace("other.one@corp.example", "[REDACTED EMAIL]")),
        ("cut", text.partition("other.one")[0]),
    ):
        told = played(output_filter(values, personal=action), cut_up(text, 1))
        assert said(told)[0] == wanted


def test_value_that_only_the_system_prompt_has_is_given_to_nobody() -> None:
    """Though it was masked: asking for it would otherwise bring it back."""
    values = PromptValues(VALUES.values, unsaid=frozenset({"[SECRET_1]"}))
    text = "I am [EMAIL_1] and the key is [SECRET_1] they say, as far as I know today."
    told = said(played(output_filter(values, leaks="mask"), cut_up(text, 3)))[0]
    assert told == f"I am {MAIL} and the key is [REDACTED SECRET] they say, as far as I know today."
    told = said(played(output_filter(values, leaks="cut"), cut_up(text, 3)))
    assert told == (f"I am {MAIL} and the key is ", "content_filter")


def test_placeholder_hides_no_secret_beside_it() -> None:
    """Written onto it, so that the two are found as one."""
    text = f"password = [EMAIL_1]{KEY} and then some more words follow here."
    told = said(played(output_filter(leaks="mask"), [Piece(text=text), Piece(finish_reason="stop")]))[0]
    assert KEY not in told
    assert MAIL in told


def test_cut_choice_leaves_the_others() -> None:
    """The answer is over when all are."""
    out = output_filter(n=2, leaks="cut")
    told = played(
        out, [Piece(index=0, text=f"{KEY} is one of many words here "), Piece(index=1, text="Fine ")]
    )
    assert (said(told, 0), said(told, 1)) == (("", "content_filter"), ("Fine ", None))
    assert not out.is_cut


def test_first_piece_goes_out_at_once_though_its_text_waits() -> None:
    """The client sees that the answer has begun."""
    [first] = output_filter(leaks="mask").pass_on([Piece(text="Hel", tokens=1)], None)
    assert (first.text, first.tokens) == ("", 1)


def test_values_are_for_one_request_and_one_pepper() -> None:
    """Sealed: nobody reads them on the bus; a gateway that cannot leaves placeholders."""
    sealed = seal(VALUES, REQUEST, PEPPER)
    assert MAIL not in sealed
    assert unseal(sealed, REQUEST, PEPPER) == VALUES
    assert unseal(sealed, REQUEST, "another") is None
    assert unseal(sealed, REQUEST.model_copy(update={"tenant": "other"}), PEPPER) is None
    assert unseal(sealed, REQUEST.model_copy(update={"request_id": "chatcmpl-2"}), PEPPER) is None
    assert unseal("nonsense", REQUEST, PEPPER) is None
    assert repr(VALUES) == "PromptValues(unsaid=frozenset())"
    out = output_filter_of(asked(), "another")
    assert out is not None
    assert said(played(out, [Piece(text="[EMAIL_1]")])) == ("[EMAIL_1]", None)
