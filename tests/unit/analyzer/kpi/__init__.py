"""The KPI role without a bus and a store."""
