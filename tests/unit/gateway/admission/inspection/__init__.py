"""Inspection of prompts."""
