"""Figures of windows of event time against their thresholds (docs/adr/0029)."""
