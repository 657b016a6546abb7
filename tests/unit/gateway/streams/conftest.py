"""What the tests of streams stand on."""

import pytest

from tests.unit.gateway.streams.stage import Stage, make_stage


@pytest.fixture
def stage() -> Stage:
    """A registry on a steady bus."""
    return make_stage()
