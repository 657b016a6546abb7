"""How a refusal is worded."""

from services.embedded.clickhouse.errors import StoreError


def denied(what: str, why: str) -> StoreError:
    """The role has no right to do that."""
    return StoreError(497, "ACCESS_DENIED", f"Not enough privileges. {what} is not allowed here: {why}")
