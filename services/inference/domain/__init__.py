"""Inference's pure rules."""
