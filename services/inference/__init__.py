"""Consumes requests, streams tokens back; all of it on Ray Serve."""
