"""How fast a view is exported, and how much memory that takes:
`python -m tests.benchmarks.analytics.export [--requests N] [--out FILE]`.

Requests of thirty days are made inside an embedded store of its own; a console in a
process of its own exports all of them in each format, without their being kept. Peaks are
the kernel's (VmHWM), set back before each export. Then lists of requests are asked for.
"""

import argparse
import asyncio
import http.client
import json
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from schemas.control import Scope
from services.common.identity import create_key
from services.common.store import Store
from services.common.store.migrations import migrate
from services.embedded.installation.ports import free_port
from tests.support.analyzer.traffic import Traffic, generate
from tests.support.control import PEPPER
from tests.support.store import RunningStore, running_store

_DAYS = 30
_LISTS = {
    "newest 50": "?days=30",
    "newest 50 of a tenant": "?days=30&tenant=tenant-07",
    "newest 50 failed of a model": "?days=30&model=model-3&outcome=failed",
    "slowest 50 of 7 days": "?days=7&order=slowest",
    "slowest 50": "?days=30&order=slowest",
}


def _peak_mb(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    (line,) = (one for one in status.splitlines() if one.startswith("VmHWM"))
    return int(line.split()[1]) // 1024


def _set_back(*pids: int) -> None:
    for pid in pids:
        Path(f"/proc/{pid}/clear_refs").write_text("5")


def _get(port: int, path: str, key: str) -> http.client.HTTPResponse:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=300)
    connection.request("GET", path, headers={"authorization": f"Bearer {key}"})
    answer = connection.getresponse()
    if answer.status != 200:
        raise RuntimeError(f"{path}: {answer.status} {answer.read()[:500]!r}")
    return answer


def _exported(port: int, key: str, form: str) -> tuple[int, int]:
    """Bytes and, of NDJSON, rows."""
    size = lines = 0
    answer = _get(port, f"/api/export/v_requests?days={_DAYS + 2}&format={form}", key)
    while piece := answer.read(1 << 20):
        size += len(piece)
        lines += piece.count(b"\n") if form == "json" else 0
    return size, lines


def measure(
    store: RunningStore, port: int, console: int, key: str, *, requests: int, repeat: int
) -> dict[str, Any]:
    """Rows a second and peaks of each format; milliseconds of each list."""
    found: dict[str, Any] = {"requests": requests}
    for form in ("json", "csv", "parquet"):
        _set_back(console, store.pid)
        before = {"console": _peak_mb(console), "store": _peak_mb(store.pid)}
        began = time.perf_counter()
        size, lines = _exported(port, key, form)
        took = time.perf_counter() - began
        if form == "json" and lines != requests:
            raise RuntimeError(f"{lines} rows of {requests}")
        found[form] = {
            "rows_per_s": round(requests / took),
            "mb": round(size / 1e6),
            "console_mb": [before["console"], _peak_mb(console)],
            "store_mb": [before["store"], _peak_mb(store.pid)],
        }
    for name, query in _LISTS.items():
        took_ms = []
        for _ in range(repeat + 1):
            began = time.perf_counter()
            _get(port, f"/api/requests{query}", key).read()
            took_ms.append((time.perf_counter() - began) * 1000)
        counted = sorted(took_ms[1:])
        found[name] = {
            "p50_ms": round(statistics.median(counted)),
            "p95_ms": round(counted[int(0.95 * (len(counted) - 1))]),
        }
    return found


def main() -> None:
    """Measures, and prints JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=10_000_000)
    parser.add_argument("--repeat", type=int, default=20)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    clear, record = create_key(
        pepper=PEPPER, name="k", tenant="default", now=datetime(2026, 9, 1, tzinfo=UTC), scopes=tuple(Scope)
    )
    with tempfile.TemporaryDirectory() as folder, running_store(Path(folder) / "store") as store:
        key_file = Path(folder) / "key.json"
        key_file.write_bytes(record.model_copy(update={"version": 1}).encode())
        migrate(store.url("admin"))

        async def fill() -> None:
            async with Store(store.url("admin"), timeout_s=120.0) as door:
                await generate(door, Traffic(options.requests, _DAYS, datetime.now(UTC)))

        asyncio.run(fill())
        port = free_port()
        module = ("-m", "tests.support.console.serving", store.url("service"), str(port), str(key_file))
        with subprocess.Popen([sys.executable, *module]) as console:
            try:
                _wait(port)
                found = measure(
                    store, port, console.pid, clear, requests=options.requests, repeat=options.repeat
                )
            finally:
                console.kill()
    text = json.dumps(found, indent=2)
    if options.out:
        options.out.write_text(text + "\n")
    print(text)


def _wait(port: int) -> None:
    give_up = time.monotonic() + 120
    while True:
        try:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
            connection.request("GET", "/health")
            connection.getresponse().read()
        except OSError:
            if time.monotonic() > give_up:
                raise
            time.sleep(0.2)
        else:
            return


if __name__ == "__main__":
    main()
