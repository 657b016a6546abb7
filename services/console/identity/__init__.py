"""Who calls: API keys as bearers, and sessions that a key opened."""
