"""What the console reads, one file a subject."""
