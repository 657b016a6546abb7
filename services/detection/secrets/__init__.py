"""Secrets by format and context."""
