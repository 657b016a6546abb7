"""Leaving what would hold an event loop."""

import asyncio
import re
import signal

import pytest

from services.common.process.interpreter import cpu_limit


@pytest.mark.parametrize("pattern", [r"(a|aa)+$", r"(?:\w{1,9}-?){1,60}!"])
async def test_cpu_limit_search_that_backtracks_is_left(pattern: str) -> None:
    """Within an event loop, too, and what comes afterwards is not touched."""
    with pytest.raises(TimeoutError, match="CPU time"), cpu_limit(0.05):
        re.search(pattern, "a" * 80 + "b")
    await asyncio.sleep(0)
    assert sum(range(2_000_000)) > 0
    assert signal.getitimer(signal.ITIMER_VIRTUAL) == (0.0, 0.0)


async def test_cpu_limit_in_a_thread_limits_nothing() -> None:
    """There Python takes no signals; the call still runs."""

    def search() -> bool:
        with cpu_limit(0.01):
            return re.search("a+b", "aab") is not None

    assert await asyncio.to_thread(search)
