"""kill -9 in the middle of streams, on a really started Tocsin: every client gets the
very text, and the store has each request once.
"""

import asyncio
import os
import signal
import time
from collections.abc import Iterator

import pytest

from tests.chaos.client import Client, Stream
from tests.chaos.run import gateway_urls, judge
from tests.chaos.spending import BudgetedKey
from tests.chaos.verdict import verdict
from tests.support.installation import Installation

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(600)]

STREAMS = 50
TOKENS = 75


@pytest.fixture(scope="module")
def budgeted(tocsin: Installation) -> Iterator[BudgetedKey]:
    """A key under a hard budget, of which in the end, after all kills, every gateway has
    the very spending that the store recorded.
    """
    key = BudgetedKey(tocsin, "scripted")
    yield key
    assert asyncio.run(key.misjudged(gateway_urls(tocsin))) == []


async def streams_through(
    tocsin: Installation, key: str, *roles: str, state: str | None = None
) -> list[Stream]:
    """Fifty streams of three seconds; as soon as all have begun, a process of each role
    is killed.
    """
    await until_all_serve(tocsin)
    async with Client(gateway_urls(tocsin), key, "scripted") as client, asyncio.TaskGroup() as group:
        began = time.time_ns() % 10**9
        tasks = [group.create_task(client.stream(began + number, tokens=TOKENS)) for number in range(STREAMS)]
        await asyncio.sleep(1.0)
        for role in roles:
            kill(await asyncio.to_thread(tocsin.status), role, state)
    return [task.result() for task in tasks]


async def until_all_serve(tocsin: Installation, timeout_s: float = 120.0) -> None:
    """Waits until what an earlier test killed is back: two replicas of the scripted
    model, two dispatchers, everything ready.
    """
    end_s = time.monotonic() + timeout_s
    while time.monotonic() < end_s:
        listed = await asyncio.to_thread(tocsin.status)
        replicas = [
            one
            for one in listed
            if one["role"] == "replica" and str(one.get("name", "")).startswith("scripted")
        ]
        dispatchers = [one for one in listed if one["role"] == "dispatcher"]
        if (
            len(replicas) == 2
            and len(dispatchers) == 2
            and all(one["state"] in ("ready", "active", "standby") for one in listed)
        ):
            return
        await asyncio.sleep(0.5)
    raise AssertionError(f"not everything came back within {timeout_s} s: {listed}")


def kill(listed: list[dict[str, object]], role: str, state: str | None) -> None:
    """Kill -9 of the first process of a role; of the scripted model where it is a
    replica.
    """
    for one in listed:
        if (
            one["role"] == role
            and (state is None or one["state"] == state)
            and (role != "replica" or str(one["name"]).startswith("scripted"))
        ):
            os.kill(int(str(one["pid"])), signal.SIGKILL)
            return
    raise AssertionError(f"no {role} in {listed}")


@pytest.mark.parametrize(
    ("role", "state"),
    [
        ("replica", None),
        ("dispatcher", "active"),
        ("gateway", None),
        ("analyzer", None),
        ("store", None),
        ("kafka", None),
    ],
)
async def test_streams_process_killed_end_whole_and_recorded_once(
    tocsin: Installation, budgeted: BudgetedKey, role: str, state: str | None
) -> None:
    """Whichever process dies: fifty whole texts, no gap or repeat, and one row each."""
    streams = await streams_through(tocsin, budgeted.key, role, state=state)
    assert verdict_of(streams)["broken"] == []
    found = await judge(tocsin, streams)
    assert (
        found["lost"],
        found["doubled"],
        found["gaps"],
        found["ledger_doubles"],
        found["rollups_agree"],
        found["mispriced"],
    ) == (0, 0, 0, 0, True, 0)
    assert found["observed_usd"] == found["recorded_usd"]
    assert found["completed"] == found["started"] == STREAMS


def verdict_of(streams: list[Stream]) -> dict[str, object]:
    """The clients' side alone."""
    nothing = {"gaps": 0, "doubles": 0}
    return verdict(streams, {}, nothing, {"per_minute": 0, "per_hour": 0})
