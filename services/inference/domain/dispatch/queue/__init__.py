"""What waits for a slot: who is next, what is held in memory, how long it may take."""
