"""What limits, budgets and Idempotency-Key cost: one stack, two gateways, in turn.

`off` is the installation's own gateway, without limits and while there is no budget.
`on` is one beside it with a default for every limit, and hard budgets of key, user,
tenant and model. `on, with keys` sends an Idempotency-Key of its own with each request,
too. CPU is counted over the gateway that serves and over everything but the other one.
Each round has a block of each kind; ratios are the medians over the rounds, with the
quartiles, since what a block costs differs by a third from one to the next.
"""

import asyncio
import contextlib
import os
import sys
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import httpx
import numpy as np
import psutil

from schemas.control import BudgetChanged, Subject, TenantChanged, UserChanged
from services.common.clock import utc_now
from services.common.control import changes
from services.common.control.errors import ConflictError, NoSuchEntryError
from services.common.control.writer import ControlWriter
from services.common.identity import create_key
from services.embedded.installation.home import Home
from services.embedded.installation.ports import free_port
from tests.benchmarks.http import chat
from tests.benchmarks.load import Sample, load
from tests.support.control import control_writer
from tests.support.installation import ROOT, Installation

KINDS = ("off", "on", "on, with keys")
BAR = 1.1
"""What `on` may cost at most, as a multiple of `off` (CPU of the whole stack)."""
_TENANT = "bench"
_SCOPES = ("key", "user", "tenant", "model")
_LIMITS = ("requests_per_minute", "tokens_per_minute", "concurrent_streams")
_BETWEEN_S = 1.5  # until what one block left behind is recorded
_READY_S = 60.0


@dataclass
class Blocks:
    """What one kind of block came to, all of them together."""

    requests: int = 0
    errors: int = 0
    seconds: float = 0.0
    gateway_ms: list[float] = field(default_factory=list)
    stack_ms: list[float] = field(default_factory=list)

    def add(self, sample: Sample, gateway_s: float, stack_s: float) -> None:
        """One more block."""
        self.requests += len(sample.latencies)
        self.errors += sample.errors
        self.seconds += sample.seconds
        count = max(1, len(sample.latencies))
        self.gateway_ms.append(round(gateway_s * 1000 / count, 3))
        self.stack_ms.append(round(stack_s * 1000 / count, 3))

    def summary(self) -> dict[str, Any]:
        """CPU milliseconds a request, of the gateway and of everything, as medians."""
        return {
            "requests": self.requests,
            "errors": self.errors,
            "requests_per_s": round(self.requests / self.seconds, 1),
            "gateway_ms": round(float(np.median(self.gateway_ms)), 3),
            "stack_ms": round(float(np.median(self.stack_ms)), 3),
            "stack_ms_by_block": self.stack_ms,
        }


async def compare(
    running: Installation, model: str, *, seconds: float = 4.0, rounds: int = 10, in_flight: int = 16
) -> dict[str, Any]:
    """Blocks of each kind, one way and then the other, so that what drifts hits all.

    Raises:
        RuntimeError: a request failed: what was measured is something else.
    """
    settings = Home(running.home).read_environment()
    writer = control_writer(settings["TOCSIN_KAFKA_URL"], settings["TOCSIN_KEY_PEPPER"])
    key = await _make_entries(writer, settings["TOCSIN_KEY_PEPPER"], model)
    found = {kind: Blocks() for kind in KINDS}
    body = chat(model, stream=False, max_tokens=32)
    async with _guarded_gateway(settings) as (process, guarded_url):
        (plain,) = [one["pid"] for one in running.status() if one["role"] == "gateway"]
        for number in range(-1, rounds):  # the first warms up and does not count
            for kind in KINDS[:: 1 if number % 2 else -1]:
                is_on = kind != "off"
                url = guarded_url if is_on else running.base_url
                await _set_budgets(writer, there=is_on)
                await _until_served(url, key, body)
                others = {one["pid"] for one in running.status() if one.get("pid")} - {plain}
                serving = process.pid if is_on else plain
                before = _cpu_s([serving]), _cpu_s(others | {serving})
                sample = await load(
                    url, key, body, in_flight=in_flight, seconds=seconds, keyed=kind == KINDS[-1]
                )
                after = _cpu_s([serving]), _cpu_s(others | {serving})
                if number >= 0:
                    found[kind].add(sample, after[0] - before[0], after[1] - before[1])
    if errors := {kind: one.errors for kind, one in found.items() if one.errors or not one.requests}:
        raise RuntimeError(f"requests failed, so nothing was compared: {errors}")
    return _compared(found)


def _compared(found: dict[str, Blocks]) -> dict[str, Any]:
    told: dict[str, Any] = {kind: one.summary() for kind, one in found.items()}
    for kind in KINDS[1:]:
        for what in ("gateway_ms", "stack_ms"):
            ratios = np.divide(getattr(found[kind], what), getattr(found["off"], what))
            low, median, high = (round(float(one), 3) for one in np.percentile(ratios, (25, 50, 75)))
            told[kind][what.replace("_ms", "_ratio")] = median
            told[kind][what.replace("_ms", "_ratio_quartiles")] = [low, high]
        told[kind]["held"] = told[kind]["stack_ratio"] <= BAR
    return told


def _budgets(key_id: str, model: str) -> Iterable[BudgetChanged]:
    ids = {"key": key_id, "user": f"{_TENANT}/jo", "tenant": _TENANT, "model": model}
    for kind in _SCOPES:
        yield BudgetChanged(
            budget_id=f"{_TENANT}-{kind}",
            tenant=_TENANT,
            subject=Subject.model_validate({"kind": kind, "id": ids[kind]}),
            period="month",
            limit_usd=Decimal(1_000_000),
            hard=True,
            created_at=utc_now(),
        )


async def _make_entries(writer: ControlWriter, pepper: str, model: str) -> str:
    now = utc_now()
    await writer.apply(changes.create(TenantChanged(tenant=_TENANT, created_at=now)))
    await writer.apply(changes.create(UserChanged(tenant=_TENANT, user="jo", created_at=now)))
    clear, record = create_key(pepper=pepper, tenant=_TENANT, user="jo", name="bench", now=now)
    await writer.apply(changes.create(record))
    for budget in _budgets(record.key_id, model):
        await writer.apply(changes.create(budget))
    return clear


async def _set_budgets(writer: ControlWriter, *, there: bool) -> None:
    change: Callable[[str, str], changes.Change] = changes.restore if there else changes.delete
    for kind in _SCOPES:
        with contextlib.suppress(ConflictError, NoSuchEntryError):  # it is so already
            await writer.apply(change("budget", f"{_TENANT}-{kind}"))
    await asyncio.sleep(_BETWEEN_S)


async def _until_served(url: str, key: str, body: dict[str, Any]) -> None:
    """Until the gateway knows the key, and what was spent."""
    headers = {"authorization": f"Bearer {key}"}
    async with asyncio.timeout(_READY_S), httpx.AsyncClient(timeout=30.0) as client:
        while (  # noqa: ASYNC110  another process
            await client.post(f"{url}/chat/completions", headers=headers, json=body)
        ).status_code != 200:
            await asyncio.sleep(0.1)


@contextlib.asynccontextmanager
async def _guarded_gateway(
    settings: dict[str, str],
) -> AsyncIterator[tuple[asyncio.subprocess.Process, str]]:
    """A gateway beside the installation's, with every limit set beyond reach."""
    port = free_port()
    told = {
        "TOCSIN_GATEWAY_PORT": str(port),
        "TOCSIN_INSTANCE": "guarded",
        "TOCSIN_LIMITS_DEFAULTS": ",".join(
            f"{scope}.{limit}=1000000000" for scope in _SCOPES for limit in _LIMITS
        ),
    }
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "services.gateway",
        cwd=ROOT,
        env=os.environ | settings | told,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        async with asyncio.timeout(_READY_S), httpx.AsyncClient() as client:
            while process.returncode is None:
                with contextlib.suppress(httpx.TransportError):
                    if (await client.get(f"http://127.0.0.1:{port}/ready")).status_code == 200:
                        break
                await asyncio.sleep(0.1)
        yield process, f"http://127.0.0.1:{port}/v1"
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        await asyncio.wait_for(process.wait(), 30)


def _cpu_s(pids: Iterable[int]) -> float:
    times = [psutil.Process(pid).cpu_times() for pid in pids]
    return float(sum(one.user + one.system for one in times))
