"""/api/security."""
