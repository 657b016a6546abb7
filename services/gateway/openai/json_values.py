"""JSON that clients send for others to read: schemas, tools, calls of tools."""

import math
from typing import Annotated, Any

from pydantic import AfterValidator

_INTEGERS = range(-(2**63), 2**64)


def _require_numbers_that_travel(value: Any) -> Any:
    """Passes where every number within survives being written and read again.

    The parser has bounded the depth.
    """
    if isinstance(value, dict):
        for one in value.values():
            _require_numbers_that_travel(one)
    elif isinstance(value, list):
        for one in value:
            _require_numbers_that_travel(one)
    elif isinstance(value, float) and not math.isfinite(value):
        raise ValueError("A number within is not finite, or too large for a 64-bit float")
    elif isinstance(value, int) and value not in _INTEGERS:
        raise ValueError("An integer within does not fit in 64 bits")
    return value


JsonObject = Annotated[dict[str, Any], AfterValidator(_require_numbers_that_travel)]
"""An object of any content, all of whose numbers are finite and fit in 64 bits."""
