"""Which figures are forecast, and how far ahead."""

FIGURES = ("requests", "tokens", "cost_usd", "threats")
HORIZONS = (24, 168)
