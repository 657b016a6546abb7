"""Fixtures that every kind of test may use."""

pytest_plugins = ["tests.kafka", "tests.store", "tests.installation"]
