"""Idempotency-Key: the same key and body, one generation and one answer, at any gateway."""
