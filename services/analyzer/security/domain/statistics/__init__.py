"""Figures: amounts that wane, surprising counts, likeness, trends, usual hours."""
