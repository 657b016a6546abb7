"""Which calls of the console are audited, and how (ADR 24)."""
