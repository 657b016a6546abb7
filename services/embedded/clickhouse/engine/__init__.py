"""chDB, and what keeps a statement inside it."""
