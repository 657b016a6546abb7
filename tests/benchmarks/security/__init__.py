"""Hostile SQL against the store; what security analysis costs, and how good it is."""
