"""/api/costs, /api/usage, /api/quality and what budgets have left: figures to read."""
