"""Fixtures of the integration tests that are made in modules beside them."""

from tests.support.analyzer.recorder_scene import own_broker, scene

__all__ = ["own_broker", "scene"]
