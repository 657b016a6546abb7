"""Drift's pure statistics and decisions."""
