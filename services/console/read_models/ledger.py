"""Whether anything was lost or doubled, by topic."""

from dataclasses import dataclass
from typing import Any

from services.common.store import Store

_SQL = """
SELECT topic, count() AS sources, sum(rows) AS events, sum(dead_lettered) AS set_aside, sum(gaps) AS missing,
    sum(doubles) AS doubled
FROM v_ledger GROUP BY topic ORDER BY topic
"""


@dataclass(frozen=True)
class Ledger:
    """Reads `v_ledger`."""

    store: Store

    async def read(self) -> list[dict[str, Any]]:
        """Each topic's producers, events, gaps and doubles.

        Raises:
            StoreUnavailableError: not now.
        """
        return [
            {
                "topic": row["topic"],
                "sources": int(row["sources"]),
                "events": int(row["events"]),
                "dead_lettered": int(row["set_aside"]),
                "gaps": int(row["missing"]),
                "doubles": int(row["doubled"]),
            }
            for row in await self.store.query(_SQL)
        ]
