"""How the platform is used, from the rollups of requests."""
