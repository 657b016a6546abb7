"""What is suspicious, and why. Pure: texts and observations in, findings out."""
