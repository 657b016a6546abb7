"""Bounded retries: named exceptions, jitter, a total timeout.

Built on stamina, which counts them in Prometheus too.
"""

from collections.abc import Awaitable, Callable
from typing import TypeVar

import stamina

from services.common.errors import TransientError

Result = TypeVar("Result")


async def retry(
    attempt: Callable[[], Awaitable[Result]],
    *,
    on: type[Exception] | tuple[type[Exception], ...] = TransientError,
    timeout_s: float | None = 30.0,
    attempts: int | None = None,
    wait_max_s: float = 2.0,
) -> Result:
    """Calls `attempt` until it succeeds, waiting 50 ms, then twice as long each time up
    to `wait_max_s`, with jitter.

    Raises:
        Exception: the last failure, once `attempts` or `timeout_s` are spent; at once
            any failure that `on` does not name.
    """
    async for once in stamina.retry_context(
        on=on, attempts=attempts, timeout=timeout_s, wait_initial=0.05, wait_max=wait_max_s, wait_jitter=0.05
    ):
        with once:
            return await attempt()
    raise AssertionError("retry_context ends by returning or raising")
