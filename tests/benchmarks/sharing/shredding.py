"""What texts sealed with a key of their subject would cost a request (ADR 25): CPU only,
best of five, so that what else the machine does counts little.

    python -m tests.benchmarks.sharing.shredding
"""

import base64
import json
import os
import time
from collections.abc import Callable

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

_TIMES = 20_000
_KEYS = 10_000
_CPU_MS = 3.3
"""Of the whole stack a request, measured with 16 in flight."""


def cost_us(act: Callable[[int], object]) -> float:
    """CPU microseconds a call, the best of five."""
    best = float("inf")
    for _ in range(5):
        began = time.process_time()
        for number in range(_TIMES):
            act(number)
        best = min(best, time.process_time() - began)
    return best / _TIMES * 1e6


def seal(cipher: AESGCM, text: bytes, bound_to: bytes) -> str:
    """As it would lie in a message's JSON."""
    nonce = os.urandom(12)
    return base64.b64encode(nonce + cipher.encrypt(nonce, text, bound_to)).decode()


def unseal(cipher: AESGCM, sealed: str, bound_to: bytes) -> bytes:
    """The text."""
    raw = base64.b64decode(sealed)
    return cipher.decrypt(raw[:12], raw[12:], bound_to)


def main() -> None:
    """Prints each part, and what it comes to a request."""
    keys = [AESGCM(os.urandom(32)) for _ in range(_KEYS)]
    bound = b"chatcmpl-0123456789abcdef"
    found: dict[str, object] = {}
    for name, size in (("chunk of 20 characters", 20), ("prompt of 600", 600), ("prompt of 10000", 10_000)):
        text = os.urandom(size // 2).hex().encode()
        sealed = [seal(key, text, bound) for key in keys]
        found[name] = {
            "seal_us": round(cost_us(lambda at, text=text: seal(keys[at % _KEYS], text, bound)), 2),
            "unseal_us": round(
                cost_us(lambda at, sealed=sealed: unseal(keys[at % _KEYS], sealed[at % _KEYS], bound)), 2
            ),
        }
    found["a key made ready, us"] = round(cost_us(lambda _: AESGCM(b"k" * 32)), 2)
    small, whole = found["chunk of 20 characters"], found["prompt of 600"]
    assert isinstance(small, dict)
    assert isinstance(whole, dict)
    # Requests and work carry one sealed text; the replica opens the prompt, seals its chunks and
    # the whole answer; the gateway opens the chunks, the dispatcher prompt and answer, which it masks.
    prompt = whole["seal_us"] + 2 * whole["unseal_us"]
    answer = whole["seal_us"] + whole["unseal_us"]
    for name, chunks in (("not streamed (2 chunks)", 2), ("streamed, 32 chunks", 32)):
        a_request_us = prompt + answer + chunks * (small["seal_us"] + small["unseal_us"])
        found[name] = {
            "us": round(a_request_us, 1),
            "share_of_3.3_ms": round(a_request_us / 1000 / _CPU_MS, 4),
        }
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
