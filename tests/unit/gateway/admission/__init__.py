"""How calls are let in."""
