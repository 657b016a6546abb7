"""The gateway's pure rules."""
