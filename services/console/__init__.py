"""The console: the platform's API for people and their dashboards, away from the gateway."""
