"""Anomalies of hourly series from plain arrays. Pure."""
