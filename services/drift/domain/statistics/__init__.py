"""The tests of change, and what keeps their common error rate."""
