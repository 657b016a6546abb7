"""What of a prompt the model gets, by the tenant's policy."""

import json
import re
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any

import pytest

from schemas.control import PolicyChanged
from schemas.inference import InferenceRequested, Lane, ReplyTo, Sampling
from services.common.control.state import ControlState
from services.common.http.problems import ProblemError
from services.common.requests.masking.masker import Masker
from services.common.requests.masking.texts import content_text
from services.common.requests.shared_room import SharedRoom
from services.gateway.admission.masking.prompt_texts import texts_in, with_texts
from services.gateway.admission.masking.protector import Protected, Protector
from services.gateway.streams.output_filter.sealing import PromptValues, unseal

NOW = datetime(2026, 11, 27, 12, tzinfo=UTC)
PEPPER = "a pepper"
MAIL, CARD = "jean.dupont@example.fr", "4111 1111 1111 1111"
KEY = "ghp_aB3dE5gH7jK9mN1pQ3sT5vW7yZ9bC1dE3fG5"
ARGUMENTS = json.dumps({"to": MAIL, "n": 1})
MESSAGES = (
    {"role": "system", "content": f"You work for boss@corp.example, key {KEY}."},
    {"role": "user", "content": [{"type": "text", "text": f"I am {MAIL}."}]},
    {"role": "assistant", "content": None, "tool_calls": [
        {"id": "a", "type": "function", "function": {"name": "send", "arguments": ARGUMENTS}}]},
    {"role": "tool", "tool_call_id": "a", "content": f"sent to {MAIL.upper()}, {CARD}"},
)  # fmt: skip
SCHEMA = {"type": "object", "properties": {"to": {"type": "string", "description": "for " + CARD}}}
TOOL = {
    "type": "function",
    "function": {"name": "send", "description": f"Mails {MAIL}", "parameters": SCHEMA},
}


def request(**more: Any) -> InferenceRequested:
    """A chat with values everywhere."""
    values: dict[str, Any] = {
        "request_id": "chatcmpl-1",
        "kind": "chat",
        "model": "m",
        "lane": Lane.INTERACTIVE,
        "tenant": "acme",
        "key_id": "k",
        "messages": MESSAGES,
        "sampling": Sampling(
            stop=(MAIL,),
            tools=(TOOL,),
        ),
        "reply_to": ReplyTo(partition=0, gateway_id="g"),
        "requested_at": NOW,
        "deadline": NOW,
    }  # fmt: skip
    return InferenceRequested(**values | more)


async def protected(asked: InferenceRequested, **policy: Any) -> Protected:
    """The request as it is published."""
    made = {"acme": PolicyChanged(tenant="acme", **policy)}
    [found] = await Protector(lambda: ControlState(policies=made), Masker(here_chars=10**6), PEPPER).protect(
        [asked]
    )
    return found


def values_of(found: Protected) -> PromptValues:
    """What the request brings along for its answer."""
    assert found.request.answer is not None
    opened = unseal(found.request.answer.sealed, found.request, PEPPER)
    assert opened is not None
    return opened


async def test_prompt_goes_as_it_is_where_no_policy_wants_otherwise() -> None:
    """By default, the very request."""
    asked = request()
    assert (await protected(asked)).request is asked


async def test_masked_prompt_has_no_value_in_any_place() -> None:
    """Nor has the record that carries it: neither in words, arguments, results, stop
    strings nor descriptions.
    """
    found = await protected(request(), secrets="mask", mask_prompt=True)
    record = found.request.encode().decode()
    for value in (MAIL, MAIL.upper(), CARD, KEY, "boss@corp.example"):
        assert value not in record
    messages = found.request.messages
    assert messages[1]["content"][0]["text"] == "I am [EMAIL_2]."
    arguments = messages[2]["tool_calls"][0]["function"]["arguments"]
    assert json.loads(arguments) == {"to": "[EMAIL_2]", "n": 1}
    assert messages[3]["content"] == "sent to [EMAIL_2], [CARD_1]"
    assert found.request.sampling.stop == ("[EMAIL_2]",)
    assert values_of(found).values["[EMAIL_2]"] == MAIL
    assert (found.request.answer.leaks, found.request.answer.personal) == ("observe", "observe")  # type: ignore[union-attr]


@pytest.mark.parametrize("value", [KEY, MAIL, CARD])
async def test_value_cut_over_two_parts_is_masked_and_blocked_as_in_one(value: str) -> None:
    """Models read the parts in one; parts that cut nothing stay."""
    half = len(value) // 2
    texts = ["I say ", value[:half], value[half:], " twice."]
    parts = [{"type": "text", "text": text} for text in texts]
    asked = request(messages=({"role": "user", "content": parts},), sampling=Sampling())
    found = await protected(asked, secrets="mask", mask_prompt=True)
    assert re.fullmatch(r"I say \[[A-Z]+_1\] twice\.", str(found.request.messages[0]["content"]))
    assert list(values_of(found).values.values()) == [value]
    assert bool((await protected(asked, secrets="block")).secrets) is (value == KEY)
    whole = request(messages=({"role": "user", "content": [*parts[:1], {"type": "text", "text": value}]},))
    content = (await protected(whole, secrets="mask", mask_prompt=True)).request.messages[0]["content"]
    assert content[0] == parts[0]
    assert re.fullmatch(r"\[[A-Z]+_1\]", content[1]["text"])


async def test_secret_that_looks_made_up_refuses_no_prompt() -> None:
    """It is only kept out of records."""
    asked = request(prompt="use ghp_1234567890abcdefghijklmnopqrstuvwxyz", messages=())
    assert (await protected(asked, secrets="block")).secrets == ()


@pytest.mark.parametrize(
    ("policy", "hidden", "shown"),
    [
        ({"secrets": "mask"}, [KEY], [MAIL, CARD]),
        ({"mask_prompt": True}, [MAIL, CARD], [KEY]),
    ],
)
async def test_policy_masks_only_what_it_names(
    policy: dict[str, Any], hidden: list[str], shown: list[str]
) -> None:
    """Secrets, or personal data."""
    record = (await protected(request(), **policy)).request.encode().decode()
    assert not [value for value in hidden if value in record]
    assert not [value for value in shown if value not in record]


async def test_secret_is_refused_where_it_is_blocked_and_its_kind_told() -> None:
    """Not its value; a prompt without any passes untouched, personal data or not."""
    found = await protected(request(), secrets="block")
    assert found.secrets
    assert KEY not in str(found.secrets)
    harmless = request(messages=(MESSAGES[1],), sampling=Sampling())
    assert await protected(harmless, secrets="block") == Protected(harmless)


async def test_answer_is_held_against_what_users_and_tools_said() -> None:
    """What only the system prompt has is none of it, masked or not."""
    found = await protected(request(), output_personal="mask", output_leaks="cut", secrets="mask")
    values = values_of(found)
    assert ("EMAIL", MAIL) in values.said
    assert ("CARD", CARD.replace(" ", "")) in values.said
    assert not [one for one in values.said if "boss" in one[1] or one[0] == "SECRET"]
    assert values.unsaid == {"[SECRET_1]"}
    assert found.request.answer is not None
    assert (found.request.answer.leaks, found.request.answer.personal) == ("cut", "mask")


async def test_policy_that_looks_at_no_answer_leaves_them_alone() -> None:
    """`scan_output` goes before what would be done."""
    asked = request()
    assert (await protected(asked, scan_output=False, output_leaks="cut")).request is asked


async def test_logprobs_cannot_be_had_of_an_answer_that_is_looked_at() -> None:
    """They tell the tokens themselves; of a masked prompt they tell placeholders."""
    asked = request(sampling=Sampling(logprobs=True))
    with pytest.raises(ProblemError) as refused:
        await protected(asked, output_leaks="mask")
    assert (refused.value.problem.status, refused.value.problem.param) == (400, "logprobs")
    assert (await protected(asked, mask_prompt=True)).request.sampling.logprobs


async def test_prompt_that_cannot_be_looked_through_is_not_served() -> None:
    """503: a policy is not got round by keeping the masking busy."""
    policies = {"acme": PolicyChanged(tenant="acme", mask_prompt=True)}
    masker = Masker(here_chars=0, waiting=SharedRoom(0))
    with pytest.raises(ProblemError) as refused:
        await Protector(lambda: ControlState(policies=policies), masker, PEPPER).protect([request()])
    assert (refused.value.problem.status, refused.value.problem.code) == (503, "overloaded")


def test_texts_and_request_with_them_agree() -> None:
    """As many, in the same order; unchanged ones make the very same request."""
    asked = request()
    texts = [one.text for one in texts_in(asked)]
    assert with_texts(asked, iter(texts)).encode() == asked.encode()
    changed = with_texts(asked, iter([f"text {number}" for number in range(len(texts))]))
    again = [one.text for one in texts_in(changed)]
    whole = texts.index(ARGUMENTS)
    assert json.loads(again[whole]) == {"to": f"text {whole + 1}", "n": 1}
    assert again == [
        *[f"text {n}" for n in range(whole)],
        again[whole],
        *[f"text {n}" for n in range(whole + 1, len(texts))],
    ]
    assert [one.role for one in texts_in(changed)] == [one.role for one in texts_in(asked)]


def test_arguments_that_are_no_json_are_a_text() -> None:
    """Broken ones, deep ones."""
    for arguments in ("{", "[" * 5000, f"mail {MAIL}"):
        call = {"id": "a", "type": "function", "function": {"name": "f", "arguments": arguments}}
        asked = request(messages=({"role": "assistant", "content": None, "tool_calls": [call]},))
        assert arguments in [one.text for one in texts_in(asked)]


async def test_password_in_arguments_is_known_by_its_name() -> None:
    """The string alone does not say what it is."""
    arguments = json.dumps({"login": {"password": "hunter2xyz!"}})
    call = {"id": "a", "type": "function", "function": {"name": "f", "arguments": arguments}}
    asked = request(messages=({"role": "assistant", "content": None, "tool_calls": [call]},))
    found = await protected(asked, secrets="mask")
    told = found.request.messages[0]["tool_calls"][0]["function"]["arguments"]
    assert json.loads(told) == {"login": {"password": "[SECRET_1]"}}


@pytest.mark.parametrize("cuts", [(8,), (4, 12, 20), tuple(range(1, len(KEY)))])
@pytest.mark.parametrize("value", [KEY, "marie.curie@labo.fr", "4111111111111111"])
async def test_value_that_is_cut_into_parts_is_masked(value: str, cuts: tuple[int, ...]) -> None:
    """Models read the parts of a message as one text."""
    text = f"It is {value}, keep it."
    places = [0, *(6 + cut for cut in cuts if cut < len(value)), len(text)]
    parts = [{"type": "text", "text": text[a:b]} for a, b in pairwise(places)]
    found = await protected(
        request(messages=({"role": "user", "content": parts},)), secrets="mask", mask_prompt=True
    )
    [message] = found.request.messages
    said = content_text(message["content"])
    assert value not in said
    assert value in values_of(found).values.values()
    assert said.startswith("It is [")


async def test_parts_that_hold_no_value_together_stay_apart() -> None:
    """Nor does a value go unseen for what begins the next part."""
    parts = [{"type": "text", "text": one} for one in ("4111111111111111", "2 of them", "and more")]
    found = await protected(request(messages=({"role": "user", "content": parts},)), mask_prompt=True)
    assert [part["text"] for part in found.request.messages[0]["content"]] == [
        "[CARD_1]",
        "2 of them",
        "and more",
    ]


CALLS: dict[str, dict[str, Any]] = {
    "object": {"function": {"name": "f", "arguments": {"token": KEY}}},
    "custom": {"type": "custom", "custom": {"name": "f", "input": f"token {KEY}"}},
    "added": {"function": {"name": "f", "arguments": "{}", "note": KEY}, "more": [KEY]},
}


@pytest.mark.parametrize("form", CALLS)
async def test_call_of_another_form_is_masked_too(form: str) -> None:
    """What names the call stays."""
    message = {"role": "assistant", "content": None, "tool_calls": [{"id": "c1", **CALLS[form]}]}
    found = await protected(request(messages=(message,)), secrets="mask")
    assert KEY not in str(found.request.messages)
    assert found.request.messages[0]["tool_calls"][0]["id"] == "c1"


PLACES: dict[str, dict[str, Any]] = {
    "name": {"messages": ({"role": "user", "name": KEY, "content": "hi"},)},
    "call id": {"messages": ({"role": "tool", "tool_call_id": KEY, "content": "hi"},)},
    "call's name": {"messages": ({"role": "assistant", "tool_calls": [{"function": {"name": KEY}}]},)},
    "enumeration": {"sampling": Sampling(tools=({"function": {"parameters": {"enum": [KEY]}}},))},
    "field": {"sampling": Sampling(tools=({"function": {"parameters": {"properties": {KEY: {}}}}},))},
    "choice": {"sampling": Sampling(tool_choice={"type": "function", "note": KEY})},
    "format": {"sampling": Sampling(response_format={"json_schema": {"schema": {"default": KEY}}})},
    "parts": {
        "messages": (
            {"role": "user", "content": [{"type": "text", "text": one} for one in (KEY[:9], KEY[9:])]},
        )
    },
}


@pytest.mark.parametrize("place", PLACES)
async def test_secret_in_any_place_refuses_a_prompt_that_may_hold_none(place: str) -> None:
    """Also where nothing is masked, as answers are made of it."""
    asked = request(
        **{"messages": ({"role": "user", "content": "hi"},), "sampling": Sampling()} | PLACES[place]
    )
    assert (await protected(asked, secrets="block")).secrets
    assert (await protected(asked, secrets="allow")).secrets == ()
