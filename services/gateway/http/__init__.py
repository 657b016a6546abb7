"""HTTP in and out: request input, responses, event streams, routes."""
