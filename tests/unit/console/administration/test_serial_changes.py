"""Changes one at a time, of which only so many wait."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from schemas.control import AnyEntry, TenantChanged
from schemas.events.audit import Actor
from services.common.control import changes
from services.common.control.changes import Change
from services.common.control.errors import ConflictError
from services.common.control.reader import ControlReader
from services.common.control.state import ControlRecord, fold
from services.common.errors import BusUnavailableError
from services.common.http.problems import ProblemError
from services.console.administration.serial_changes import SerialChanges
from tests.support.console.scene import BEGAN

ME = Actor(kind="key", id="k")
MADE = TenantChanged(tenant="new", created_at=BEGAN, version=1)
CHANGE = changes.create(MADE)
Writing = Callable[[], Awaitable[AnyEntry | None]]


def serial(writing: Writing, **fields: float) -> SerialChanges:
    """Changes that are written thus, and are seen at once."""
    reader = ControlReader("", "test")

    async def write(_actor: Actor, _change: Change) -> AnyEntry | None:
        entry = await writing()
        reader.state = fold(reader.state, [ControlRecord("tenant:new", MADE.encode())])
        return entry

    return SerialChanges(write, reader, **fields)  # type: ignore[arg-type]


async def refused(made: SerialChanges, tenant: str) -> tuple[int, dict[str, str]]:
    """The status and headers with which a change is refused."""
    with pytest.raises(ProblemError) as error:
        await made.apply(ME, tenant, ("tenant", "new"), CHANGE)
    return error.value.problem.status, dict(error.value.problem.headers)


async def test_changes_are_made_in_turn_and_few_wait() -> None:
    """A tenant beyond its share gets 429, anyone beyond all places 503; those that wait
    are made.
    """
    under_way: list[int] = []
    most: list[int] = []
    gate = asyncio.Event()

    async def write() -> AnyEntry | None:
        under_way.append(1)
        most.append(len(under_way))
        await gate.wait()
        under_way.pop()
        return MADE

    made = serial(write, most=3, most_of_a_tenant=2)
    async with asyncio.TaskGroup() as group:
        waiting = [
            group.create_task(made.apply(ME, tenant, ("tenant", "new"), CHANGE)) for tenant in ("a", "a", "b")
        ]
        await asyncio.sleep(0)
        assert (await refused(made, "a")) == (429, {"retry-after": "2", "retry-after-ms": "2000"})
        assert (await refused(made, "c")) == (503, {"retry-after": "2", "retry-after-ms": "2000"})
        gate.set()
    assert [one.result() for one in waiting] == [MADE] * 3
    assert max(most) == 1
    assert await made.apply(ME, "a", ("tenant", "new"), CHANGE) == MADE


@pytest.mark.parametrize("failure", [BusUnavailableError("no broker"), None])
async def test_change_that_is_not_confirmed_says_to_look_first(failure: Exception | None) -> None:
    """503 where Kafka is away or takes too long: it may have been made."""

    async def write() -> AnyEntry | None:
        if failure is not None:
            raise failure
        await asyncio.Event().wait()
        return None

    made = serial(write, timeout_s=0.02)
    with pytest.raises(ProblemError, match="may have been made all the same") as error:
        await made.apply(ME, "a", ("tenant", "new"), CHANGE)
    assert error.value.problem.status == 503
    assert (await refused(made, "a"))[0] == 503  # its place is free again


async def test_refused_change_leaves_its_place_free() -> None:
    """However often."""

    async def write() -> AnyEntry | None:
        raise ConflictError("no")

    made = serial(write, most=1, most_of_a_tenant=1)
    for _ in range(3):
        with pytest.raises(ConflictError):
            await made.apply(ME, "a", ("tenant", "new"), CHANGE)


async def test_maker_of_a_change_reads_it_at_once() -> None:
    """The answer waits until the console's own view holds the change."""
    reader = ControlReader("", "test")

    async def write(_actor: Actor, _change: Change) -> AnyEntry | None:
        asyncio.get_running_loop().call_later(
            0.03,
            lambda: setattr(
                reader, "state", fold(reader.state, [ControlRecord("tenant:new", MADE.encode())])
            ),
        )
        return MADE

    await SerialChanges(write, reader).apply(ME, "a", ("tenant", "new"), CHANGE)
    assert reader.state.tenants["new"] == MADE
