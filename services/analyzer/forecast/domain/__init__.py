"""Forecasts and capacity advice from plain arrays. Pure."""
