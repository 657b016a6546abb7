"""What the store has of persons."""
