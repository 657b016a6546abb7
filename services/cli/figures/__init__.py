"""Figures in words and tables: spending, prices."""
