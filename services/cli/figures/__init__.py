"""Figures in words and tables: spending, prices, thresholds that are proposed."""
