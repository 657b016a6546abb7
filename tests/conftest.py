"""Fixtures that every kind of test may use."""

import importlib.util

pytest_plugins = ["tests.kafka", "tests.installation"] + (["tests.store"] if importlib.util.find_spec("tests.store") else [])
