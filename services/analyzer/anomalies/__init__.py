"""Hours that are not as they should be, and what they are due to."""
