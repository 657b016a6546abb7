"""What the console works out. Pure."""
