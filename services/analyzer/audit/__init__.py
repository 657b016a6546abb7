"""The audit role: who did what, as rows that are chained by hash (ADR 12)."""
