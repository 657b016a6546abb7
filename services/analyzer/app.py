"""The analyzer's wiring: the roles that its settings name, in one process."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from services.analyzer.roles import ROLES, Role
from services.analyzer.settings import Settings
from services.common.bus.subscriber.asyncapi import Document
from services.common.errors import ConfigError
from services.common.process.health import HealthState


class App:
    """An analyzer, as `services.common.process.runner` runs it.

    A role that fails ends the process: its supervisor starts all of them anew.
    """

    def __init__(self, roles: Sequence[Role], health: HealthState) -> None:
        self.health = health
        self._roles = roles

    async def start(self) -> None:
        """Starts every role."""
        await self._each(lambda role: role.start())

    async def run(self) -> None:
        """Works until told to stop.

        Raises:
            Exception: the first failure of a role.
        """
        await self._each(lambda role: role.run())

    async def drain(self) -> None:
        """Finishes what was begun, and takes no more."""
        await self._each(lambda role: role.drain())

    async def close(self) -> None:
        """Lets go of everything, whatever one of the roles makes of it."""
        for outcome in await asyncio.gather(*[role.close() for role in self._roles], return_exceptions=True):
            if isinstance(outcome, BaseException):
                raise outcome

    def asyncapi(self) -> list[Document]:
        """What FastStream says of the roles' consumers."""
        return [document for role in self._roles if (document := role.asyncapi()) is not None]

    async def _each(self, act: Callable[[Role], Awaitable[None]]) -> None:
        async def acting(role: Role) -> None:
            await act(role)

        try:
            async with asyncio.TaskGroup() as group:
                for role in self._roles:
                    group.create_task(acting(role))
        except BaseExceptionGroup as failures:
            raise failures.exceptions[0] from failures


def build(settings: Settings) -> App:
    """An analyzer with the roles of `TOCSIN_ANALYZER_ROLES`.

    Raises:
        ConfigError: a role is unknown, or none is named.
    """
    names = [name for one in settings.analyzer_roles.split(",") if (name := one.strip())]
    if unknown := [name for name in names if name not in ROLES] or ([] if names else ["(none)"]):
        raise ConfigError(
            f"TOCSIN_ANALYZER_ROLES={settings.analyzer_roles!r} names {unknown[0]}; there are "
            f"{', '.join(ROLES)}, separated by commas"
        )
    health = HealthState()
    return App([ROLES[name](settings, health.of(name)) for name in dict.fromkeys(names)], health)
