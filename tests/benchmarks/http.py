"""Loads a running gateway: `make bench-http URL=http://…/v1 KEY=tsn_… MODEL=name`.

Any OpenAI-compatible server will do, for comparison.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import uvloop

from tests.benchmarks.load import load

IN_FLIGHT = (1, 16, 64)


def chat(model: str, *, stream: bool, max_tokens: int) -> dict[str, Any]:
    """The request that is sent."""
    body: dict[str, Any] = {
        "model": model,
        "messages": [{"role": "user", "content": "Tell me about the sea."}],
        "max_tokens": max_tokens,
        "seed": 1,
    }
    return body | ({"stream": True, "stream_options": {"include_usage": True}} if stream else {})


async def measure(
    url: str, key: str, model: str, *, seconds: float, max_tokens: int = 32, stream_tokens: int = 256
) -> dict[str, dict[str, float]]:
    """Latency and requests a second at each number in flight, then 64 streams."""
    found: dict[str, dict[str, float]] = {}
    for in_flight in IN_FLIGHT:
        sample = await load(
            url, key, chat(model, stream=False, max_tokens=max_tokens), in_flight=in_flight, seconds=seconds
        )
        found[f"{in_flight} in flight"] = sample.summary()
    streams = await load(
        url, key, chat(model, stream=True, max_tokens=stream_tokens), in_flight=64, seconds=seconds
    )
    found["64 streams"] = streams.summary()
    return found


def table(found: dict[str, dict[str, float]]) -> str:
    """The figures as a table."""
    columns = [
        "requests",
        "errors",
        "requests_per_s",
        "latency_p50_ms",
        "latency_p95_ms",
        "latency_p99_ms",
        "ttft_p50_ms",
        "ttft_p99_ms",
        "tokens_per_s",
    ]
    lines = ["| load | " + " | ".join(columns) + " |", "|-|" + "-|" * len(columns)]
    lines += [
        f"| {name} | " + " | ".join(f"{row[column]:g}" if column in row else "" for column in columns) + " |"
        for name, row in found.items()
    ]
    return "\n".join(lines)


def main() -> None:
    """Reads arguments, measures, prints a table and writes JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url", required=True, help="with /v1")
    parser.add_argument("--key", required=True)
    parser.add_argument("--model", required=True)
    parser.add_argument("--seconds", type=float, default=15.0, help="for each load")
    parser.add_argument("--max-tokens", type=int, default=32)
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    url = given.url.rstrip("/")
    url = url if url.endswith("/v1") else f"{url}/v1"
    found = uvloop.run(
        measure(url, given.key, given.model, seconds=given.seconds, max_tokens=given.max_tokens)
    )
    print(table(found))
    if given.out:
        given.out.write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
