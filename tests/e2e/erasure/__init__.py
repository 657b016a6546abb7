"""Erasures on a whole installation, looked for in all that it has."""
