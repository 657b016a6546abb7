"""Commands that show and change control state: keys, models, policies, tenants, users."""
