"""What limits cost a request, and by how much a flood over three gateways exceeds them.

    python -m tests.benchmarks.sharing.limits [--seconds 20] [--rate 200] [--out limits.json]

The first part compares this gateway's own metering with the library `limits` (skipped
where that is not installed: it is no dependency). The second starts a Kafka and three
gateway processes and floods them.
"""

import argparse
import asyncio
import contextlib
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import yaml

from schemas.control import Limits
from services.common.bus.administration.admin import provision
from services.common.control.limits import LimitKind, Rule
from services.common.requests.model_catalogue import load_models
from services.embedded.installation.ports import free_port
from services.embedded.kafka.broker import EmbeddedKafka
from services.gateway.limits.limiter import Cost
from tests.support.control import PEPPER, make_key
from tests.support.inference.fake_inference import FakeInference
from tests.unit.gateway.limits.scene import LimitsScene, caller, request

_ROUNDS = 20_000
_GATEWAYS = 3
_SCALE = 0.125


def timed_us(call: Callable[[], Any], rounds: int = _ROUNDS) -> float:
    """Microseconds of CPU a call."""
    began = time.process_time()
    for _ in range(rounds):
        call()
    return round((time.process_time() - began) / rounds * 1e6, 2)


def cost_of_admission(limits: Limits | None, defaults: str = "") -> float:
    """Letting one request in and settling it, in microseconds."""
    scene, asking, asked = LimitsScene(defaults), caller(limits, user="ann"), request()

    async def serve() -> None:
        for _ in range(_ROUNDS):
            [let_in] = await scene.admit(asking, [asked])
            let_in.settle(4, 0)
            scene.time_s += 1.0

    began = time.process_time()
    asyncio.run(serve())
    return round((time.process_time() - began) / _ROUNDS * 1e6, 2)


def costs() -> dict[str, Any]:
    """What one request costs, by the limits that it is under."""
    all_three = Limits(requests_per_minute=10**6, tokens_per_minute=10**9, concurrent_streams=10**6)
    names = ("requests_per_minute=1000000", "tokens_per_minute=1000000000", "concurrent_streams=1000000")
    everything = ",".join(f"{scope}.{name}" for scope in ("key", "user", "tenant", "model") for name in names)
    return {
        "no limit, us": cost_of_admission(None),
        "requests a minute of a key, us": cost_of_admission(Limits(requests_per_minute=10**6)),
        "all three of a key, us": cost_of_admission(all_three),
        "all three of key, user, tenant and model, us": cost_of_admission(None, everything),
        "one limit, metering alone, us": cost_of_metering(),
        "library limits, one limit, us": cost_of_library(),
    }


def cost_of_metering() -> float:
    """What compares with the library: looking, taking, and the figures for the headers."""
    scene = LimitsScene()
    rule, cost = Rule("key:key00001:requests", "key", LimitKind.REQUESTS, 10**6), Cost(1, 0)

    def once() -> None:
        if scene.limiter.refusal((rule,), cost, 1000.0) is None:
            scene.limiter.take((rule,), (cost,), 1000.0)
        scene.limiter.tightest((rule,), 1000.0)

    return timed_us(once)


def cost_of_library() -> dict[str, float] | str:
    """One `hit` and the figures for the headers, by each of the library's strategies."""
    try:
        from limits import RateLimitItemPerMinute, storage, strategies  # type: ignore[import-not-found]
    except ImportError:
        return "not installed"
    item, found = RateLimitItemPerMinute(10**6), {}
    for strategy in (
        strategies.FixedWindowRateLimiter,
        strategies.SlidingWindowCounterRateLimiter,
        strategies.MovingWindowRateLimiter,
    ):
        limiter = strategy(storage.MemoryStorage())

        def once(limiter: Any = limiter) -> None:
            limiter.hit(item, "key", "key00001")
            limiter.get_window_stats(item, "key", "key00001")

        found[strategy.__name__] = timed_us(once, 5_000)
    return found


async def flood(clients: list[httpx.AsyncClient], model: str, *, seconds: float, rate: float) -> list[float]:
    """Asks the gateways in turn; when each admitted request was asked, in seconds."""
    began, admitted, asking = time.monotonic(), list[float](), set[asyncio.Task[None]]()

    async def ask(client: httpx.AsyncClient, asked_s: float) -> None:
        body = {"model": model, "prompt": "hello", "max_tokens": 4}
        if (await client.post("/v1/completions", json=body)).status_code == 200:
            admitted.append(asked_s)

    for number in range(int(seconds * rate)):
        await asyncio.sleep(max(0.0, began + number / rate - time.monotonic()))
        task = asyncio.create_task(ask(clients[number % len(clients)], time.monotonic() - began))
        asking.add(task)
        task.add_done_callback(asking.discard)
    await asyncio.gather(*asking)
    return admitted


async def excess(seconds: float, rate: float) -> dict[str, Any]:
    """Three gateway processes on one bus, for limits of several sizes."""
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        kafka = EmbeddedKafka(Path(folder) / "kafka")
        kafka.start()
        try:
            for limit in (12, 120, 1200):
                found[f"{limit} a minute"] = await _excess_of(
                    kafka.bootstrap, Path(folder), limit, seconds=seconds, rate=rate
                )
        finally:
            kafka.stop()
    return found


async def _excess_of(url: str, folder: Path, limit: int, *, seconds: float, rate: float) -> dict[str, Any]:
    model = f"fake-{uuid4().hex[:8]}"
    models_file = folder / f"{model}.yaml"
    entry = {"name": model, "engine": "scripted", "context_length": 4096}
    models_file.write_text(yaml.safe_dump({"models": [entry]}))
    await provision(url, load_models(models_file), _SCALE)
    clear, _ = await make_key(url)
    async with contextlib.AsyncExitStack() as stack:
        await stack.enter_async_context(FakeInference(url, model, words=2).running())
        clients = [
            await gateway_process(stack, url, models_file, clear, f"key.requests_per_minute={limit}")
            for _ in range(_GATEWAYS)
        ]
        await asyncio.sleep(2)  # until each has heard of the others
        admitted = await flood(clients, model, seconds=seconds, rate=rate)
    allowed = limit + limit * seconds / 60
    return {
        "asked": int(seconds * rate),
        "admitted": len(admitted),
        "allowed": round(allowed, 1),
        "excess": round(max(0.0, len(admitted) - allowed), 1),
        "excess in the first second": max(0, sum(at_s < 1 for at_s in admitted) - limit),
        "bound": 2 * limit,
    }


async def gateway_process(
    stack: contextlib.AsyncExitStack, url: str, models_file: Path, key: str, defaults: str
) -> httpx.AsyncClient:
    """A client of a gateway process that is ready; it is killed with the stack."""
    port = free_port()
    settings = {
        "TOCSIN_KAFKA_URL": url,
        "TOCSIN_GATEWAY_PORT": str(port),
        "TOCSIN_KEY_PEPPER": PEPPER,
        "TOCSIN_PSEUDONYM_KEY": "a pseudonym key for tests",
        "TOCSIN_MODELS_FILE": str(models_file),
        "TOCSIN_LIMITS_DEFAULTS": defaults,
        "TOCSIN_PARTITION_SCALE": str(_SCALE),
        "TOCSIN_LOG_LEVEL": "error",
    }
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "services.gateway", env=os.environ | settings
    )
    stack.push_async_callback(process.wait)
    stack.callback(process.kill)
    client = await stack.enter_async_context(
        httpx.AsyncClient(
            base_url=f"http://127.0.0.1:{port}",
            headers={"authorization": f"Bearer {key}"},
            timeout=60.0,
            limits=httpx.Limits(max_connections=64),
        )
    )
    async with asyncio.timeout(60):
        while True:
            with contextlib.suppress(httpx.TransportError):
                if (await client.get("/ready")).status_code == 200:
                    return client
            await asyncio.sleep(0.1)


def main() -> None:
    """Prints the figures, and writes them where asked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--rate", type=float, default=200.0)
    parser.add_argument("--costs-only", action="store_true")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    found: dict[str, Any] = {"cost": costs()}
    if not options.costs_only:
        found["three gateways"] = asyncio.run(excess(options.seconds, options.rate))
    text = json.dumps(found, indent=2)
    print(text)
    if options.out:
        options.out.write_text(text)


if __name__ == "__main__":
    main()
