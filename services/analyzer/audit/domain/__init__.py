"""The chain: pure, and the format that others verify by."""
