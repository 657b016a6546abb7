"""Fixtures that every kind of test may use."""

pytest_plugins = ["tests.support.kafka", "tests.support.store", "tests.support.installation"]
