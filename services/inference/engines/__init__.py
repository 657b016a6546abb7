"""What generates tokens, one file an engine."""
