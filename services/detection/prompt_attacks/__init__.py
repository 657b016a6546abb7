"""Prompt attacks: disguises undone, rules, a small model."""
