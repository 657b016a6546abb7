"""Roles in one process."""

import asyncio
from dataclasses import dataclass, field

import pytest

from services.analyzer.app import App
from services.common.bus.subscriber.asyncapi import Document
from services.common.errors import BusUnavailableError
from services.common.process.health import HealthState


@dataclass
class FakeRole:
    """Notes what is asked of it; fails where told."""

    fails: str = ""
    done: list[str] = field(default_factory=list)
    stopped: asyncio.Event = field(default_factory=asyncio.Event)

    async def start(self) -> None:
        """Starts."""
        self._do("start")

    async def run(self) -> None:
        """Runs until drained."""
        self._do("run")
        await self.stopped.wait()

    async def drain(self) -> None:
        """Lets `run` return."""
        self._do("drain")
        self.stopped.set()

    async def close(self) -> None:
        """Closes."""
        self._do("close")

    def asyncapi(self) -> Document | None:
        """Consumes nothing."""
        return None

    def _do(self, what: str) -> None:
        self.done.append(what)
        if what == self.fails:
            raise BusUnavailableError(what)


async def test_roles_run_side_by_side_until_they_are_drained() -> None:
    """Each is started, drained and closed."""
    roles = [FakeRole(), FakeRole()]
    app = App(roles, HealthState())
    await app.start()
    running = asyncio.create_task(app.run())
    await asyncio.sleep(0)
    await app.drain()
    await asyncio.wait_for(running, 5)
    await app.close()
    assert [role.done for role in roles] == [["start", "run", "drain", "close"]] * 2


@pytest.mark.parametrize("step", ["start", "run"])
async def test_failure_of_a_role_ends_the_others_and_is_raised_as_it_is(step: str) -> None:
    """The runner reads its kind: not a group of failures."""
    app = App([FakeRole(), FakeRole(fails=step)], HealthState())

    async def live() -> None:
        await app.start()
        await asyncio.wait_for(app.run(), 5)

    with pytest.raises(BusUnavailableError, match=step):
        await live()


async def test_every_role_is_closed_though_one_fails_at_it() -> None:
    """No connection is left open."""
    roles = [FakeRole(fails="close"), FakeRole()]
    with pytest.raises(BusUnavailableError):
        await App(roles, HealthState()).close()
    assert [role.done for role in roles] == [["close"]] * 2
