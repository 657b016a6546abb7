"""What the end of a request tells of its texts."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from schemas.control import EVERYBODY, PolicyChanged
from schemas.inference import Delivered, End, InferenceCompleted, InferenceRequested, Lane, Outcome, ReplyTo
from services.common.control.state import ControlState
from services.common.process import metrics
from services.common.process.child.child_process import ChildLostError, ChildProcess
from services.common.process.child.on_demand import OnDemandChild
from services.common.requests.completion import completed_event
from services.common.requests.masking.masker import Masker, NotMaskedError
from services.common.requests.masking.recording import StoreText, TextRecording, stored_text
from services.common.requests.masking.sensitive_texts import MaskScope, mask_texts
from services.common.requests.masking.texts import RequestTexts, texts_of
from services.common.requests.model_catalogue import Price
from services.common.requests.shared_room import SharedRoom

NOW = datetime(2026, 11, 27, 12, tzinfo=UTC)
MAIL, CARD, KEY = (
    "jean.dupont@example.fr",
    "4111 1111 1111 1111",
    "ghp_" + "aB3dE5gH7jK9mN1pQ3sT5vW7yZ9bC1dE3fG5",
)


def request_of(*said: tuple[str, str]) -> InferenceRequested:
    """A chat in which `said` (role, text) was said."""
    return InferenceRequested(
        request_id="chatcmpl-1",
        kind="chat",
        model="m",
        lane=Lane.INTERACTIVE,
        tenant="acme",
        key_id="key00001",
        messages=tuple({"role": role, "content": text} for role, text in said),
        reply_to=ReplyTo(partition=0, gateway_id="g"),
        requested_at=NOW,
        deadline=NOW + timedelta(seconds=30),
    )


def ended(request: InferenceRequested, *answers: str) -> tuple[InferenceCompleted, RequestTexts]:
    """The request's end as it is before anything is said of its texts, and those."""
    choices = tuple(Delivered(text=text) for text in answers)
    end = End(outcome=Outcome.COMPLETED)
    event = completed_event(request, end, choices, replica_id="r", price=Price(), now=NOW)
    return event, texts_of(request, choices)


async def recorded(
    request: InferenceRequested, *answers: str, kept: StoreText = "masked", masker: Masker | None = None
) -> InferenceCompleted:
    """The end as it is published."""
    recording = TextRecording(lambda _tenant: kept, masker or Masker())
    try:
        return await recording.end_with_texts(*ended(request, *answers))
    finally:
        await recording.close()


async def test_secret_that_looks_made_up_is_not_recorded_either() -> None:
    """At once and in the process for long texts."""
    made_up = "ghp_1234567890abcdefghijklmnopqrstuvwxyz"
    for masker in (Masker(), Masker(here_chars=0)):
        event = await recorded(request_of(("user", f"use {made_up}")), f"I use {made_up}", masker=masker)
        assert (event.prompt_text, event.response_text) == ("use [SECRET_1]", "I use [SECRET_1]")


async def test_end_same_value_in_prompt_and_answers_has_one_placeholder() -> None:
    """Message by message, and the parts' lengths are those of the masked text."""
    request = request_of(
        ("system", f"You help {MAIL}."),
        ("user", f"I am {MAIL.upper()}, card {CARD}."),
        ("tool", f"key {KEY}"),
    )
    event = await recorded(request, f"{MAIL} pays by {CARD.replace(' ', '')}", "Write to other@example.org")
    assert event.prompt_text == "You help [EMAIL_1].\nI am [EMAIL_1], card [CARD_1].\nkey [SECRET_1]"
    assert event.response_text == "[EMAIL_1] pays by [CARD_1]\nWrite to [EMAIL_2]"
    assert [one.role for one in event.prompt_parts] == ["system", "user", "tool"]
    lines = event.prompt_text.split("\n")
    assert [one.chars for one in event.prompt_parts] == [len(line) for line in lines]


async def test_end_value_known_from_one_text_alone_is_masked_in_the_others() -> None:
    """Nothing in the answer, or in the message before, says that it is a password."""
    request = request_of(("user", "Is hunter2xyz! a good one?"), ("user", "My password is hunter2xyz!"))
    event = await recorded(request, "hunter2xyz! is weak.")
    assert "hunter2xyz" not in f"{event.prompt_text}{event.response_text}"
    assert event.response_text == "[SECRET_1] is weak."


async def test_end_value_cut_over_two_parts_of_a_message_is_masked() -> None:
    """A model reads the parts as one text, and so does whoever reads the record."""
    parts = [{"type": "text", "text": f"use {KEY[:20]}"}, {"type": "text", "text": KEY[20:]}]
    request = request_of(("user", "")).model_copy(update={"messages": ({"role": "user", "content": parts},)})
    event = await recorded(request, "ok")
    assert event.prompt_text == "use [SECRET_1]"
    assert event.prompt_chars == len(f"use {KEY}")


@pytest.mark.parametrize("value", [MAIL, KEY, "FR7630006000011234567890189"])
@pytest.mark.parametrize("size", [1, 5, 17])
async def test_end_value_that_is_cut_into_parts_is_not_kept(value: str, size: int) -> None:
    """Whoever cuts it: nothing but its own placeholder is left of it."""
    text = f"It is {value} then."
    parts = [{"type": "text", "text": text[at : at + size]} for at in range(0, len(text), size)]
    asked = request_of(("user", "hello")).model_copy(
        update={"messages": ({"role": "user", "content": parts}, {"role": "user", "content": "bye"})}
    )
    told = (await recorded(asked, "yes")).prompt_text or ""
    assert value not in told.replace("\n", "")
    assert told.startswith("It is [")
    assert told.endswith("\nbye")


async def test_end_parts_without_values_keep_their_lines() -> None:
    """And what is a value in one part alone is masked there."""
    parts = [{"type": "text", "text": one} for one in (CARD, "2 pieces", "thanks")]
    asked = request_of().model_copy(update={"messages": ({"role": "user", "content": parts},)})
    assert (await recorded(asked, "yes")).prompt_text == "[CARD_1]\n2 pieces\nthanks"


async def test_end_placeholder_that_a_user_wrote_is_given_to_no_value() -> None:
    """Whoever comes first."""
    event = await recorded(request_of(("user", MAIL), ("user", "What is [EMAIL_1]?")), "[EMAIL_1]?")
    assert (event.prompt_text, event.response_text) == ("[EMAIL_2]\nWhat is [EMAIL_1]?", "[EMAIL_1]?")


@pytest.mark.parametrize(("kept", "prompt"), [("none", None), ("raw", f"I am {MAIL}")])
async def test_end_other_policies_keep_nothing_or_everything(kept: StoreText, prompt: str | None) -> None:
    """Their lengths are told always."""
    event = await recorded(request_of(("user", f"I am {MAIL}")), MAIL, kept=kept)
    assert (event.prompt_text, event.response_text) == (prompt, MAIL if prompt else None)
    assert (event.prompt_chars, event.response_chars) == (len(f"I am {MAIL}"), len(MAIL))


@pytest.mark.parametrize(
    ("kept", "told"),
    [
        ("none", [None, None, None]),
        ("masked", ["ask [EMAIL_1]", None, "[EMAIL_1]"]),
        ("raw", [f"ask {MAIL}", None, MAIL]),
    ],
)
async def test_remarks_are_kept_as_texts_are(kept: StoreText, told: list[str | None]) -> None:
    """Where no text is, what people wrote of an answer is none."""
    recording = TextRecording(lambda _tenant: kept)
    assert await recording.remarks("acme", f"ask {MAIL}", None, MAIL) == told


@pytest.mark.parametrize(
    ("default", "policies", "kept"),
    [
        ("masked", {}, "masked"),
        ("raw", {}, "raw"),
        ("masked", {"acme": "raw"}, "raw"),
        ("raw", {"acme": "masked"}, "masked"),
        ("raw", {EVERYBODY: "none"}, "none"),
        ("masked", {EVERYBODY: "none", "acme": "masked"}, "masked"),
        ("none", {"acme": "raw"}, "none"),
    ],
)
def test_policy_goes_before_the_setting_but_where_that_is_none(
    default: StoreText, policies: dict[str, StoreText], kept: str
) -> None:
    """An installation that stores no text stores none of anybody."""
    made = {name: PolicyChanged(tenant=name, store_text=stored) for name, stored in policies.items()}
    assert stored_text(ControlState(policies=made), "acme", default) == kept


async def test_long_texts_are_masked_in_a_process_that_is_replaced_when_killed() -> None:
    """With the same result, surrogates and all."""
    masker = Masker()
    text = f"{MAIL} said \ud800 again. " * 400
    try:
        first = await masker.mask([text, KEY], MaskScope.EVERYTHING, tenant="acme")
        assert first == mask_texts([text, KEY], MaskScope.EVERYTHING)
        child = masker.child.child
        assert isinstance(child, ChildProcess)
        child.process.kill()
        await child.process.wait()
        assert await masker.mask([text, KEY], MaskScope.EVERYTHING, tenant="acme") == first
        assert masker.child.child is not child
    finally:
        await masker.close()


class FakeChild:
    """Answers when told to, or is lost."""

    is_alive = True

    def __init__(self, *, answers: bool = False) -> None:
        self.answers, self.asked, self.closed = answers, 0, 0

    async def ask(self, job: Any) -> Any:
        self.asked += 1
        if not self.answers:
            raise ChildLostError("gone")
        await asyncio.Event().wait()
        raise AssertionError

    async def close(self) -> None:
        self.closed += 1


@pytest.mark.parametrize("answers", [True, False], ids=["hangs", "dies"])
async def test_end_whose_texts_cannot_be_masked_is_told_without_them(*, answers: bool) -> None:
    """Never raw, and never not at all; the process is replaced."""
    child = FakeChild(answers=answers)

    async def start() -> FakeChild:
        return child

    masker = Masker(OnDemandChild(start, 5, job_s=0.01))
    event = await recorded(request_of(("user", f"{MAIL} " * 500)), "ok", masker=masker)
    assert (event.prompt_text, event.response_text, event.prompt_chars) == (None, None, 500 * (len(MAIL) + 1))
    assert (child.asked, child.closed) == (1, 1)


def masking_missed(why: str) -> float:
    """How many texts were not masked for this reason."""
    return float(metrics.MASKING_MISSED.labels(why)._value.get())


async def test_texts_that_wait_are_bounded() -> None:
    """In bytes, a tenant's to what is free beside them, and in time."""

    async def start() -> FakeChild:
        return FakeChild(answers=True)

    masker = Masker(OnDemandChild(start, 0.01, job_s=30), waiting=SharedRoom(40_000))
    before = masking_missed("full")
    request, other = request_of(("user", "a" * 12_000)), request_of(("user", "b" * 7_000))
    first = asyncio.create_task(masker.mask(["a" * 12_000], MaskScope.EVERYTHING, tenant="acme"))
    await asyncio.sleep(0)
    recording = TextRecording(masker=masker)
    full = await recording.end_with_texts(*ended(request, "ok"))
    impatient = await recording.end_with_texts(*ended(other, "ok"))
    assert (full.prompt_text, impatient.prompt_text) == (None, None)
    assert masking_missed("full") == before + 1
    with pytest.raises(NotMaskedError, match="busy"):  # another tenant has room, and waits
        await masker.mask(["c" * 12_000], MaskScope.EVERYTHING, tenant="globex")
    with pytest.raises(NotMaskedError, match="full"):
        await masker.mask(["c" * 29_000], MaskScope.EVERYTHING, tenant="globex")
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)


async def test_masked_texts_that_no_record_holds_are_left_out() -> None:
    """The end itself stays."""
    event = await recorded(request_of(("user", "\x00" * 300_000)), kept="raw")
    assert (event.prompt_text, event.prompt_chars) == (None, 300_000)


async def test_short_texts_let_the_loop_breathe() -> None:
    """However many come at once: other work goes between, and soon."""
    masker, rounds, done = Masker(), 0, asyncio.Event()

    async def other_work() -> None:
        nonlocal rounds
        while not done.is_set():
            rounds += 1
            await asyncio.sleep(0)

    other = asyncio.create_task(other_work())
    text = f"I am {MAIL}, card {CARD}, key {KEY}. " * 10
    found = await asyncio.gather(
        *(masker.mask([text], MaskScope.EVERYTHING, tenant="acme") for _ in range(60))
    )
    done.set()
    await other
    assert rounds > 10
    assert {one.texts for one in found} == {mask_texts([text], MaskScope.EVERYTHING).texts}
