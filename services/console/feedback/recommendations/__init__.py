"""Recommendations: shown with their evidence, and decided on."""
