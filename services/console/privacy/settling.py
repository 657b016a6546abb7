"""Waiting until the store has what the bus had."""

import asyncio
from dataclasses import dataclass, field

import structlog

from schemas.topics import AUDIT, COMPLETED, FEEDBACK, FINDINGS
from services.common.bus.administration.inspection import group_lags, partition_counts
from services.common.errors import TocsinError

log = structlog.get_logger(__name__)

_READ_FOR_THE_STORE = (COMPLETED.name, FEEDBACK.name, FINDINGS.name, AUDIT.name)
_MARKERS = 2
"""What a transaction leaves behind a partition's last record counts as lag."""


@dataclass(frozen=True)
class Settling:
    """Waits for the recorder and the audit role, `longest_s` at most: what they bring
    later is erased in a later round.
    """

    url: str = field(repr=False)
    longest_s: float = 20.0
    pause_s: float = 0.5

    async def wait(self) -> None:
        """Returns once they have nothing left that is personal, or after `longest_s`."""
        try:
            async with asyncio.timeout(self.longest_s):
                while not await self._is_settled():  # noqa: ASYNC110  Kafka tells nobody of lags
                    await asyncio.sleep(self.pause_s)
        except (TimeoutError, TocsinError) as error:
            log.info("erasure_does_not_wait_longer", error=repr(error))

    async def _is_settled(self) -> bool:
        counts = await partition_counts(self.url)
        return all(
            behind[topic] <= _MARKERS * counts.get(topic, 1)
            for group, behind in (await group_lags(self.url)).items()
            if group.startswith(("recorder", "audit"))
            for topic in _READ_FOR_THE_STORE
            if topic in behind
        )
