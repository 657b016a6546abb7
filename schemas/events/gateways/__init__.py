"""What gateways tell each other, one module a topic or two."""
