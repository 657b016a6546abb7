"""/api/usage: how the platform is used, from the store's rollups."""
