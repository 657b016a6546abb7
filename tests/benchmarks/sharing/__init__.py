"""How callers share what there is: limits, queues."""
