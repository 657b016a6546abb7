"""Time zones for tests that must not end in another day than they began in."""

from datetime import datetime


def zone_at_noon(now: datetime) -> str:
    """A zone in which it is between twelve and one: no day or month ends for hours."""
    return f"Etc/GMT{now.hour - 12:+d}"  # these names count hours west
