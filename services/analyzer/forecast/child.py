"""A process that works out forecasts and anomalies, for as long as a round lasts: an
analyzer that records must neither stand still meanwhile nor keep NumPy's memory.

It has no settings and no secrets, yields to everybody else's work, is asked on one
socket, and ends when the analyzer does.
"""

import os
import resource
from typing import Any

from services.analyzer.forecast.domain.outlook import outlook_of
from services.common.process.child.frames import inherited_socket, serve
from services.common.process.interpreter import cpu_limit

CPU_S = 120.0
"""Most of one subject; five seconds are usual."""
_MEMORY_BYTES = 1 << 30


def answer(job: dict[str, Any]) -> dict[str, Any]:
    """What `outlook_of` says, or why nothing could be worked out (`left`)."""
    try:
        with cpu_limit(CPU_S):
            return outlook_of(job)
    except TimeoutError:
        return {"left": f"it took more than {CPU_S:g} s of CPU"}
    except (ArithmeticError, LookupError, MemoryError, TypeError, ValueError) as error:
        return {"left": f"{type(error).__name__}: {error}"[:300]}


if __name__ == "__main__":
    os.nice(10)
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY_BYTES, _MEMORY_BYTES))
    serve(inherited_socket(), answer)
