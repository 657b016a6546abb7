"""What the gateway publishes, and whether the bus is there."""
