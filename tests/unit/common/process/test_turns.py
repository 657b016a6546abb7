"""Who is next where one thing is done at a time."""

import asyncio
import random

from services.common.process.child.turns import Turns


async def test_tenants_take_turns_however_many_wait_of_one() -> None:
    """A flood of one keeps another waiting for one of its own at most."""
    turns, served = Turns(), list[str]()

    async def ask(tenant: str) -> None:
        await turns.acquire(tenant)
        served.append(tenant)
        await asyncio.sleep(0)
        turns.release()

    await turns.acquire("flood")
    async with asyncio.TaskGroup() as tasks:
        for tenant in [*["flood"] * 5, "acme", "globex", "acme"]:
            tasks.create_task(ask(tenant))
        await asyncio.sleep(0)
        turns.release()
    assert served == ["flood", "acme", "globex", "flood", "acme", "flood", "flood", "flood"]
    assert (turns._is_held, turns._waiting) == (False, {})


async def test_turns_of_those_who_give_up_are_lost_to_nobody() -> None:
    """Whenever they do: while they wait, or as it is handed to them."""
    chosen, turns, held = random.Random(1), Turns(), 0

    async def ask(tenant: str) -> None:
        nonlocal held
        await turns.acquire(tenant)
        held += 1
        assert held == 1
        try:
            await asyncio.sleep(0)
        finally:
            held -= 1
            turns.release()

    asking = [asyncio.create_task(ask(chosen.choice("abc"))) for _ in range(300)]
    while not all(one.done() for one in asking):
        chosen.choice(asking).cancel()
        await asyncio.sleep(0)
    await asyncio.gather(*asking, return_exceptions=True)
    assert (held, turns._is_held, turns._waiting) == (0, False, {})
    await asyncio.wait_for(turns.acquire("a"), 1)
