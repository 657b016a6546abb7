"""Watches the distribution of what is asked and answered."""
