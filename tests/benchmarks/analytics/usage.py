"""How long /api/usage/analytics takes over millions of requests:
`python -m tests.benchmarks.analytics.usage [--requests N] [--repeat N] [--out FILE]`.

Requests of thirty days are made inside an embedded store of its own. Each question is
asked of the read model, the first time not counted; HTTP adds a few milliseconds.
"""

import argparse
import asyncio
import json
import statistics
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from services.common.store import Store
from services.console.domain.cost_query import CostRequest
from services.console.read_models.usage.query import UsageQuery, end_of_hour
from services.console.read_models.usage.reader import Usage
from tests.support.analyzer.recording import fresh_database
from tests.support.analyzer.traffic import Traffic, generate
from tests.support.store import running_store

_DAYS = 30
_ONE = {"tenant": "tenant-00"}
QUESTIONS: dict[str, tuple[CostRequest, dict[str, str]]] = {
    "7 days": (CostRequest(days=7), {}),
    "7 days of a tenant": (CostRequest(days=7), _ONE),
    "7 days of a model": (CostRequest(days=7), {"model": "model-1"}),
    "7 days of Paris": (CostRequest(days=7, time_zone="Europe/Paris"), {}),
    "7 days of Kathmandu": (CostRequest(days=7, time_zone="Asia/Kathmandu"), {}),
    "7 days of Kathmandu, a tenant": (CostRequest(days=7, time_zone="Asia/Kathmandu"), _ONE),
    "30 days": (CostRequest(days=_DAYS), {}),
    "30 days of a tenant": (CostRequest(days=_DAYS), _ONE),
}


async def measure(store: Store, requests: int, repeat: int) -> dict[str, Any]:
    """Milliseconds for each question: median, 95th percentile, longest."""
    now = datetime.now(UTC)
    began = time.perf_counter()
    await generate(store, Traffic(requests, _DAYS, now))
    found: dict[str, Any] = {"requests": requests, "made_in_s": round(time.perf_counter() - began, 1)}
    usage = Usage(store, lambda: now)
    for name, (asked, only) in QUESTIONS.items():
        span = asked.query(now, only)
        query = UsageQuery(span.since, end_of_hour(now), span.zone, only)
        took = []
        for _ in range(repeat + 1):
            began = time.perf_counter()
            await usage.read(query)
            took.append((time.perf_counter() - began) * 1000)
        counted = sorted(took[1:])
        found[name] = {
            "p50_ms": round(statistics.median(counted)),
            "p95_ms": round(counted[int(0.95 * (len(counted) - 1))]),
            "longest_ms": round(counted[-1]),
        }
    return found


def main() -> None:
    """Measures, and prints JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=10_000_000)
    parser.add_argument("--repeat", type=int, default=40)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, running_store(Path(folder) / "store") as running:
        store = Store(fresh_database(running), timeout_s=120.0)

        async def run() -> dict[str, Any]:
            try:
                return await measure(store, options.requests, options.repeat)
            finally:
                await store.close()

        text = json.dumps(asyncio.run(run()), indent=2)
    if options.out:
        options.out.write_text(text + "\n")
    print(text)


if __name__ == "__main__":
    main()
