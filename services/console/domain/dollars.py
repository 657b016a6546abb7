"""Dollars as the API tells them. Pure."""

from decimal import Decimal

_STEP = Decimal(1).scaleb(-12)


def dollars_text(amount: Decimal) -> str:
    """A number of dollars without an exponent, rounded to the store's twelve decimals."""
    return f"{amount.quantize(_STEP).normalize():f}"
