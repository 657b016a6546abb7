"""The state of the whole platform, part by part: one that cannot be had does not keep
the others from being told.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from services.console.read_models.cached_read import CachedRead, Reading, ReadState

_WHERE = frozenset({"host", "pid"})
_NOT_READY = frozenset({"away", "not_ready"})


@dataclass
class PlatformStatus:
    """Reads all parts at once."""

    parts: Mapping[str, CachedRead]

    async def read(self, *, with_places: bool) -> dict[str, Any]:
        """Each part's state and data; never fails. `with_places` tells hosts and
        process ids too.
        """
        readings = await asyncio.gather(*(part.get() for part in self.parts.values()))
        parts = {
            name: _describe(reading, with_places=with_places)
            for name, reading in zip(self.parts, readings, strict=True)
        }
        well = all(reading.state is ReadState.OK and not _is_unwell(reading.data) for reading in readings)
        return {"state": "ok" if well else "degraded", "parts": parts}

    async def close(self) -> None:
        """Gives up what is under way."""
        await asyncio.gather(*(part.close() for part in self.parts.values()))


def _describe(reading: Reading, *, with_places: bool) -> dict[str, Any]:
    return {
        "state": reading.state.value,
        "checked_at": reading.checked_at.isoformat(),
        "took_ms": reading.took_ms,
        "data": reading.data if with_places else _without_places(reading.data),
    }


def _is_unwell(data: Any) -> bool:
    """Whether a part that was read tells of a service that is not ready, or of events
    that are missing or doubled.
    """
    if isinstance(data, list):
        return any(one["gaps"] or one["doubles"] for one in data)
    return any(isinstance(one, dict) and one.get("state") in _NOT_READY for one in data.values())


def _without_places(data: Any) -> Any:
    if isinstance(data, dict):
        return {name: _without_places(value) for name, value in data.items() if name not in _WHERE}
    if isinstance(data, list):
        return [_without_places(one) for one in data]
    return data
