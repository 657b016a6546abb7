"""One machine, nothing installed: what stands in for a cluster."""
