"""What a blocked prompt leaves: an end, one request of the limits, nothing else."""

from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import pytest

from schemas.events.security import PromptRisk
from schemas.inference import InferenceRequested, Outcome
from services.common.http.problems import ProblemError
from services.gateway.openai.requests import CompletionBody
from tests.unit.gateway.admission.test_gate import LIMITS, NOTHING, taken
from tests.unit.gateway.budgets import budget
from tests.unit.gateway.limits.scene import caller
from tests.unit.gateway.serving import ask, serving_of
from tests.unit.gateway.streams.stage import make_stage


class Inspection:
    """Blocks what says `evil`, and counts what it was asked."""

    def __init__(self) -> None:
        self.inspected: list[str] = []

    async def inspect(self, requests: Sequence[InferenceRequested]) -> list[InferenceRequested]:
        self.inspected += [one.prompt for one in requests]
        return [one.model_copy(update={"risk": self._risk(one.prompt)}) for one in requests]

    @staticmethod
    def _risk(prompt: str) -> PromptRisk:
        if "evil" not in prompt:
            return PromptRisk(level="low", score=4)
        return PromptRisk(level="critical", score=30, action="blocked", categories=("jailbreak", "other"))


def scene(defaults: str = LIMITS, dollars: int = 1000) -> tuple[Any, Any, Inspection]:
    """A stage, its gateway and its inspection."""
    stage, inspection = make_stage(), Inspection()
    serving = serving_of(stage, 99, defaults, budgets=(budget(limit_usd=Decimal(dollars)),))
    serving.gate.inspector = inspection
    return stage, serving, inspection


def body(*prompts: str) -> CompletionBody:
    """A completion of these prompts."""
    return CompletionBody(model="m", prompt=list(prompts), max_tokens=5)


async def test_blocked_prompt_counts_as_a_request_and_leaves_nothing_else_taken() -> None:
    """Its place, its money and its tokens are free: probing is limited all the same."""
    stage, serving, _ = scene()
    for _ in range(2):
        with pytest.raises(ProblemError):
            await ask(serving, caller(), body("evil"))
    found = taken(stage, serving)
    assert found.pop("requests") > 0
    assert found == {name: amount for name, amount in NOTHING.items() if name != "requests"}
    assert not serving.publisher.taken


async def test_blocked_prompt_has_one_end_with_its_risk() -> None:
    """Of a call with several each that is bad; the harmless ones were never begun."""
    _, serving, _ = scene()
    with pytest.raises(ProblemError) as refused:
        await ask(serving, caller(), body("fine", "evil", "good", "more evil"))
    ended = serving.gate.ends.ended
    assert [request.prompt for request, _ in ended] == ["evil", "more evil"]
    assert all(end.outcome is Outcome.BLOCKED and end.usage.prompt_tokens == 0 for _, end in ended)
    assert all(request.risk is not None and request.risk.action == "blocked" for request, _ in ended)
    assert refused.value.request_id == ended[0][0].request_id


async def test_blocked_caller_learns_what_happened_and_not_why() -> None:
    """Category and request, as the API promises; no rule, no score, no place."""
    _, serving, _ = scene()
    with pytest.raises(ProblemError) as refused:
        await ask(serving, caller(), body("fine", "evil"))
    problem, request_id = refused.value.problem, refused.value.request_id
    assert problem.openai_body() == {
        "error": {
            "message": "Prompt injection detected",
            "type": "invalid_request_error",
            "param": None,
            "code": "prompt_injection",
            "category": "jailbreak",
            "request_id": request_id,
        }
    }
    assert problem.status == 400
    told = {name: value for name, value in problem.headers if not name.startswith("x-ratelimit")}
    assert told == {"x-should-retry": "false", "x-risk": "critical"}
    assert {"category": "jailbreak", "request_id": request_id}.items() <= problem.problem_body().items()


@pytest.mark.parametrize(
    ("defaults", "dollars"), [(LIMITS.replace("streams=50", "streams=0"), 1000), (LIMITS, 0)]
)
async def test_who_is_over_a_limit_has_nothing_inspected(defaults: str, dollars: int) -> None:
    """Inspection is the dearest check: nobody can make it work for nothing."""
    _, serving, inspection = scene(defaults, dollars)
    with pytest.raises(ProblemError) as refused:
        await ask(serving, caller(), body("evil"))
    assert refused.value.problem.status == 429
    assert not inspection.inspected
    assert not serving.gate.ends.ended


async def test_harmless_prompt_is_published_with_its_risk() -> None:
    """Its end tells it, whichever service makes that; a further attempt has it, too."""
    _, serving, _ = scene()
    [reply_stream] = await ask(serving, caller(), body("fine"))
    [published] = serving.publisher.taken
    assert published.risk == reply_stream.request.risk == PromptRisk(level="low", score=4)
