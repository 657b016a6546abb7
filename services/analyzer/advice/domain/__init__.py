"""Rules, what they say, and how that lives on. Pure."""
