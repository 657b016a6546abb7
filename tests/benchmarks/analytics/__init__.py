"""Forecasts, anomalies and capacity advice, measured."""
