"""Texts that are older than their tenant's policy keeps them are removed from the store,
table by table.
"""

import asyncio
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import structlog

from schemas.control import EVERYBODY, PolicyChanged
from services.common.clock import Clock
from services.common.control.reader import ControlReader
from services.common.control.state import ControlState
from services.common.errors import TocsinError
from services.common.process import metrics
from services.console.privacy.stored.rows import Rows
from services.console.privacy.stored.special_tables import LETTER_VALUES
from services.console.privacy.stored.tables import PERSONAL

log = structlog.get_logger(__name__)

_BEFORE = "< {cut:DateTime64(3, 'UTC')}"


@dataclass(frozen=True, slots=True)
class Expiring:
    """Texts of a table that expire, which a policy calls `name`: `time` is their row's,
    `values` are written into it where there `is_text`.
    """

    name: str
    table: str
    time: str
    is_text: str
    values: Mapping[str, str]


EXPIRING: tuple[Expiring, ...] = (
    *(
        Expiring(one.place, one.table, one.time, one.is_expired, one.expired)
        for one in PERSONAL
        if one.expired
    ),
    Expiring("dead_letters", "dead_letters", "failed_at", "value != ''", LETTER_VALUES),
)


@dataclass(frozen=True)
class Retention:
    """Once an hour, at each console: what another has removed is not there any more."""

    control: ControlReader
    rows: Rows
    clock: Clock
    every_s: float = 3600.0

    async def run(self) -> None:
        """Removes what is too old, until cancelled."""
        while True:
            if self.control.caught_up:
                await self.remove_old()
            await asyncio.sleep(self.every_s if self.control.caught_up else 1.0)

    async def remove_old(self) -> int:
        """Removes once; how many rows lost their texts. What is away is tried again with
        the next round.
        """
        removed = 0
        for one in EXPIRING:
            for where, parameters in cuts(self.control.state, one.name, self.clock()):
                try:
                    removed += await self._remove(one, where, parameters)
                except TocsinError as error:
                    log.warning("retention_waits", table=one.table, error=type(error).__name__)
        return removed

    async def _remove(self, texts: Expiring, whose: str, parameters: Mapping[str, Any]) -> int:
        where = f"{whose} AND {texts.time} {_BEFORE} AND ({texts.is_text})"
        found = await self.rows.count(texts.table, where, parameters)
        if found:
            await self.rows.overwrite(texts.table, texts.values, where, parameters)
            metrics.RETENTION_BLANKED.labels(texts.table).inc(found)
            log.info("retention_is_over", table=texts.table, rows=found)
        return found


def cuts(state: ControlState, name: str, now: datetime) -> Iterator[tuple[str, dict[str, Any]]]:
    """Whose rows of a table are too old from when on: of each tenant with a policy of its
    own, and of all others where the policy of `*` says how long.
    """
    own = [one for one in state.policies.values() if one.tenant != EVERYBODY and one.deleted_at is None]
    for policy in own:
        if (days := days_of(policy, name)) is not None:
            yield "tenant = {tenant:String}", {"tenant": policy.tenant, "cut": now - timedelta(days=days)}
    common = state.policies.get(EVERYBODY)
    if common is None or common.deleted_at is not None:
        return
    if (days := days_of(common, name)) is not None:
        owners = [one.tenant for one in own]
        cut = now - timedelta(days=days)
        yield "tenant NOT IN {owners:Array(String)}", {"owners": owners, "cut": cut}


def days_of(policy: PolicyChanged, name: str) -> int | None:
    """How long a policy keeps the texts of a table; None where it does not say."""
    days = policy.retention_by_table.get(name)
    return policy.retention_days if days is None else days
