"""Reply streams: from the log to the waiting client."""
