"""Which moments may be asked about. Pure."""

from datetime import UTC, datetime

EARLIEST = datetime(1971, 1, 1, tzinfo=UTC)
LATEST = datetime(2200, 1, 1, tzinfo=UTC)
"""The store's times reach little further: it refuses what lies beyond them."""
