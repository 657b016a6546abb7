"""How long a revoked key is still good, at the slowest of three gateway processes.

    python -m tests.benchmarks.sharing.revocation [--rounds 30]

Counted from the moment at which whoever revokes it is answered.
"""

import argparse
import asyncio
import contextlib
import json
import statistics
import tempfile
import time
from pathlib import Path

import httpx
import yaml

from services.common.bus.administration.admin import provision
from services.common.control import changes
from services.common.requests.model_catalogue import load_models
from services.embedded.kafka.broker import EmbeddedKafka
from tests.benchmarks.sharing.limits import gateway_process
from tests.support.control import control_writer, make_key

_GATEWAYS = 3
_SCALE = 0.125
_GIVE_UP_S = 30.0


async def _answers(client: httpx.AsyncClient, key: str, status: int) -> float:
    """The monotonic time at which the gateway answers the key with this status."""
    async with asyncio.timeout(_GIVE_UP_S):
        while True:
            answer = await client.get("/v1/models", headers={"authorization": f"Bearer {key}"})
            if answer.status_code == status:
                return time.monotonic()
            await asyncio.sleep(0.002)


async def _revoked_after_s(url: str, clients: list[httpx.AsyncClient]) -> float:
    clear, record = await make_key(url)
    await asyncio.gather(*(_answers(client, clear, 200) for client in clients))
    waiting = [asyncio.create_task(_answers(client, clear, 401)) for client in clients]
    await control_writer(url).apply(changes.revoke_key(record.key_id))
    revoked = time.monotonic()
    return max(0.0, max(await asyncio.gather(*waiting)) - revoked)


async def _measured(url: str, folder: Path, rounds: int) -> list[float]:
    models_file = folder / "models.yaml"
    entry = {"name": "fake", "engine": "scripted", "context_length": 4096}
    models_file.write_text(yaml.safe_dump({"models": [entry]}))
    await provision(url, load_models(models_file), _SCALE)
    clear, _ = await make_key(url)
    async with contextlib.AsyncExitStack() as stack:
        clients = [await gateway_process(stack, url, models_file, clear, "") for _ in range(_GATEWAYS)]
        return [await _revoked_after_s(url, clients) for _ in range(rounds)]


def main() -> None:
    """Prints the median and the worst."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=30)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        kafka = EmbeddedKafka(Path(folder) / "kafka")
        kafka.start()
        try:
            found = asyncio.run(_measured(kafka.bootstrap, Path(folder), options.rounds))
        finally:
            kafka.stop()
    in_ms = [round(seconds * 1000, 1) for seconds in found]
    print(json.dumps({"median_ms": statistics.median(in_ms), "worst_ms": max(in_ms), "rounds": len(in_ms)}))


if __name__ == "__main__":
    main()
