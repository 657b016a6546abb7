"""A blocked prompt with an Idempotency-Key: inspected once, recorded once, told the same
at every gateway, over a log in memory.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest

from schemas.inference import End, InferenceRequested
from services.common.bus import Outgoing
from services.common.http.problems import ProblemError, unavailable
from services.gateway.openai.requests import CompletionBody
from tests.unit.gateway.admission.test_gate_inspection import Inspection
from tests.unit.gateway.http.test_idempotency import Gateway, TimedLog


class SharedLog(TimedLog):
    """One gateway's view of a log that others write, too."""

    def __init__(self, others: "list[SharedLog]") -> None:
        super().__init__(records=others[0].records if others else [])
        self._others = others
        others.append(self)
        self.slow.set()

    async def send(self, record: Outgoing) -> None:
        await super().send(record)
        for one in self._others:
            one._grew.set()


@contextlib.asynccontextmanager
async def gateways(count: int) -> AsyncIterator[list[Gateway]]:
    """So many over one log, each with an inspection of its own."""
    logs = list[SharedLog]()
    made = [Gateway(SharedLog(logs)) for _ in range(count)]
    for one in made:
        one.keys.claim_timeout_s = 5.0
        one.serving.gate.inspector = Inspection()
    running = [asyncio.create_task(one.keys.run()) for one in made]
    try:
        yield made
    finally:
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)


def body(*prompts: str) -> CompletionBody:
    """A completion of these prompts."""
    return CompletionBody(model="m", prompt=list(prompts), max_tokens=5)


async def refusal(gateway: Gateway, asked: CompletionBody) -> ProblemError:
    """What a call is told."""
    with pytest.raises(ProblemError) as refused:
        await gateway.ask(asked)
    return refused.value


def ends_of(made: Sequence[Gateway]) -> list[tuple[InferenceRequested, End]]:
    """What all of them recorded."""
    return [end for one in made for end in one.serving.gate.ends.ended]


def inspected(made: Sequence[Gateway]) -> list[str]:
    """What all of them inspected."""
    return [text for one in made for text in one.serving.gate.inspector.inspected]


@pytest.mark.parametrize("prompts", [("evil",), ("fine", "evil", "more evil")])
async def test_same_call_gets_the_same_refusal_at_every_gateway(prompts: tuple[str, ...]) -> None:
    """Inspected once; each blocked prompt has one end; the limit is used once."""
    async with gateways(2) as made:
        told = [await refusal(one, body(*prompts)) for one in (*made, *made)]
        assert {(one.request_id, one.problem.code, one.problem.details) for one in told} == {
            (told[0].request_id, "prompt_injection", told[0].problem.details)
        }
        assert dict(told[-1].problem.headers) == {"x-should-retry": "false", "x-risk": "critical"}
        assert len(ends_of(made)) == sum("evil" in one for one in prompts)
        assert inspected(made) == list(prompts)
        assert [one.used()[0] for one in made] == [len(prompts), 0]


async def test_same_call_at_two_gateways_at_once_is_recorded_once() -> None:
    """The log decides whose refusal it is."""
    async with gateways(2) as made:
        told = await asyncio.gather(*(refusal(one, body("evil")) for one in made))
        codes = {one.problem.code for one in told}
        assert codes <= {"prompt_injection", "idempotency_key_in_use"}
        assert "prompt_injection" in codes
        assert len(ends_of(made)) == 1


async def test_another_body_with_the_key_of_a_refusal_is_a_conflict() -> None:
    """As it is with the key of an answer."""
    async with gateways(1) as [gateway]:
        await refusal(gateway, body("evil"))
        assert (await refusal(gateway, body("fine"))).problem.code == "idempotency_key_reused"
        assert not gateway.serving.publisher.taken


async def test_key_is_free_again_where_the_end_could_not_be_recorded() -> None:
    """The bus was away: the next call is judged anew, and recorded."""

    class Away:
        async def end(self, *_: Any, **__: Any) -> None:
            raise unavailable("The bus is away.")

    async with gateways(1) as [gateway]:
        ends = gateway.serving.gate.ends
        gateway.serving.gate.ends = Away()
        assert (await refusal(gateway, body("evil"))).problem.status == 503
        gateway.serving.gate.ends = ends
        assert (await refusal(gateway, body("evil"))).problem.code == "prompt_injection"
        assert len(ends.ended) == 1
