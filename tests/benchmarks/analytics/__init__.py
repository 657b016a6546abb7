"""Questions of analysts over ten million requests: what they cost in time."""
