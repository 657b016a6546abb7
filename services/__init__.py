"""Tocsin's services; they meet only in schemas."""
