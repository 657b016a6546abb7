"""Making topics as they should be, and looking at the bus from outside."""
