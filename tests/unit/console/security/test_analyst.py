"""Prompts in their turn, in a process that may die."""

import asyncio
from typing import Any

import pytest

from services.common.http.problems import ProblemError
from services.common.process.child.child_process import ChildLostError
from services.common.process.child.on_demand import OnDemandChild
from services.console.security.analyst import Analyst


class Child:
    """Answers when it is let, or is lost."""

    def __init__(self, *, lost: bool = False) -> None:
        self.lost, self.is_alive, self.asked = lost, True, list[str]()
        self.go, self.began = asyncio.Event(), asyncio.Event()

    async def ask(self, job: Any) -> Any:
        """What the job gives."""
        self.asked.append(job["prompt"])
        self.began.set()
        if self.lost:
            raise ChildLostError("gone")
        await self.go.wait()
        return {"score": 1.0}

    async def close(self) -> None:
        """Ends it."""
        self.is_alive = False


def analyst(*children: Child, patience_s: float = 10, job_s: float = 30, **fields: Any) -> Analyst:
    """One that starts these, one after the other."""
    left = list(children)

    async def start() -> Child:
        return left.pop(0)

    return Analyst(OnDemandChild(start, patience_s, job_s), **fields)


async def status(call: "asyncio.Task[Any]") -> int:
    """What a call was refused with; 200 where it was not."""
    try:
        await call
    except ProblemError as error:
        return error.problem.status
    return 200


async def test_tenant_with_many_prompts_leaves_room_for_others() -> None:
    """Beyond its share it is told to wait; another tenant is analysed."""
    child = Child()
    desk = analyst(child, most=3, most_of_tenant=2)
    calls = [asyncio.create_task(desk.analyse(tenant, "x")) for tenant in ("acme", "acme", "acme", "globex")]
    full = asyncio.create_task(desk.analyse("third", "x"))
    assert await status(calls[2]) == 429
    assert await status(full) == 503
    child.go.set()
    assert [await status(one) for one in (calls[0], calls[1], calls[3])] == [200, 200, 200]
    assert await desk.analyse("acme", "again") == {"score": 1.0}
    await desk.close()
    assert not child.is_alive


async def test_lost_process_is_replaced_for_the_next_prompt() -> None:
    """Whoever asked is told to come back; nobody waits for ever."""
    second = Child()
    second.go.set()
    desk = analyst(Child(lost=True), second)
    with pytest.raises(ProblemError, match="in time"):
        await desk.analyse("acme", "x")
    assert await desk.analyse("acme", "x") == {"score": 1.0}


async def test_prompt_that_takes_too_long_costs_the_process_its_life() -> None:
    """A pathological text holds up the queue for `job_s` at most."""
    slow, second = Child(), Child()
    second.go.set()
    desk = analyst(slow, second, job_s=0.01)
    assert await status(asyncio.create_task(desk.analyse("acme", "x"))) == 503
    assert not slow.is_alive
    assert await desk.analyse("acme", "y") == {"score": 1.0}


async def test_call_that_is_given_up_never_gives_its_answer_to_another() -> None:
    """The process is ended with it: its answer would be the next prompt's."""
    first, second = Child(), Child()
    second.go.set()
    desk = analyst(first, second)
    call = asyncio.create_task(desk.analyse("acme", "x"))
    await first.began.wait()
    call.cancel()
    await asyncio.gather(call, return_exceptions=True)
    assert not first.is_alive
    await desk.analyse("globex", "y")
    assert second.asked == ["y"]


async def test_prompt_that_waits_too_long_is_refused() -> None:
    """With 503, and the one before it goes on."""
    child = Child()
    desk = analyst(child, patience_s=0.01)
    first = asyncio.create_task(desk.analyse("acme", "x"))
    await child.began.wait()
    assert await status(asyncio.create_task(desk.analyse("acme", "y"))) == 503
    child.go.set()
    assert await status(first) == 200
