"""Grammars that would stop a model stop a process that nobody misses."""

import asyncio
from typing import Any

import pytest

from services.common.process.child.on_demand import OnDemandChild
from services.inference.engines.base import EngineFailedError, InvalidRequestError, Sampling
from services.inference.engines.formats.grammar_compiler import GrammarCompiler
from services.inference.engines.formats.json_grammar import Constraint, wanted_constraint

# Each takes seconds to minutes of CPU, or gigabytes, in llguidance 1.9. No rule of ours names
# any: the second was let through by the rules that were there before, and took all memory.
HOSTILE: list[dict[str, Any]] = [
    {"type": "integer", "multipleOf": 99_999_989},
    {"allOf": [{"type": "string", "pattern": f"^.*x{one}.*y{one}.*z{one}.*$"} for one in range(40)]},
    {"type": "object", "patternProperties": {f"^b{number:04}$": True for number in range(250)}},
]
HARMLESS: dict[str, Any] = {"type": "object", "properties": {"city": {"type": "string"}}}


def constraint_of(schema: Any) -> Constraint:
    """What an answer of a schema is held to."""
    wanted = wanted_constraint(
        Sampling(response_format={"type": "json_schema", "json_schema": {"schema": schema}})
    )
    assert wanted is not None
    return wanted


async def test_hostile_schemas_are_refused_and_harm_nobody() -> None:
    """Whatever it is that they cost; the next tenant's is compiled, and what was refused
    once is refused at once.
    """
    compiler = GrammarCompiler()
    try:
        for schema in HOSTILE:
            with pytest.raises(InvalidRequestError, match="too long or too much memory") as refused:
                await compiler.check(constraint_of(schema), tenant="acme")
            assert refused.value.param == "response_format"
            await compiler.check(constraint_of(HARMLESS | {"title": str(schema)[:99]}), tenant="globex")
        known = compiler.child.child
        with pytest.raises(InvalidRequestError):
            await compiler.check(constraint_of(HOSTILE[0]), tenant="acme")
        assert compiler.child.child is known
    finally:
        await compiler.close()


async def test_schema_that_cannot_be_held_is_refused_with_the_reason() -> None:
    """Not with the grammar, which is not the client's; deep ones too."""
    deep: dict[str, Any] = {"type": "string"}
    for _ in range(180):
        deep = {"type": "array", "items": deep}
    compiler = GrammarCompiler()
    try:
        for schema, reason in (({"type": "foo"}, "foo"), (deep, "recursion")):
            with pytest.raises(InvalidRequestError, match=reason) as refused:
                await compiler.check(constraint_of(schema), tenant="acme")
            assert "| " not in str(refused.value)
    finally:
        await compiler.close()


class FakeChild:
    """Never answers."""

    is_alive = True

    async def ask(self, job: Any) -> Any:
        await asyncio.Event().wait()

    async def close(self) -> None:
        pass


async def never() -> FakeChild:
    """Starts one that never answers."""
    return FakeChild()


async def test_grammar_that_cannot_be_compiled_now_is_no_fault_of_the_request() -> None:
    """Another attempt may succeed, and nothing is remembered."""
    compiler = GrammarCompiler(OnDemandChild(never, patience_s=5, job_s=0.01))
    for _ in range(2):
        with pytest.raises(EngineFailedError, match="in time"):
            await compiler.check(constraint_of(HARMLESS), tenant="acme")
    assert not compiler._complaints
