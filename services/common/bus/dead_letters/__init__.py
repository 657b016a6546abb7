"""Setting records aside that cannot be used, reading them, sending them again."""
