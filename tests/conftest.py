"""Fixtures that every kind of test may use, and how tests share two workers."""

from collections.abc import Generator

import pytest

pytest_plugins = ["tests.support.kafka", "tests.support.store", "tests.support.installation"]
"""Fixtures of the integration tests that are made in modules beside them."""

_WAITING = ("tests/chaos", "tests/e2e", "tests/integration", "tests/contract")
"""Tests that mostly wait, the longest first: they begin, and unit tests fill what is left."""


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> Generator[None]:
    """Keeps a file's tests on one worker, and all that need the running installation on
    the same one: there is one such installation for the whole run.

    The groups must be there before pytest-xdist reads them, the order after
    pytest-randomly has made its own.
    """
    for item in items:
        group = "installation" if _needs_installation(item) else item.nodeid.partition("::")[0]
        item.add_marker(pytest.mark.xdist_group(group))
    result = yield
    items.sort(key=_place)
    return result


def _needs_installation(item: pytest.Item) -> bool:
    return "tocsin" in getattr(item, "fixturenames", ())


def _place(item: pytest.Item) -> int:
    if _needs_installation(item):
        return 0
    folders = enumerate(_WAITING, start=1)
    return next((at for at, folder in folders if item.nodeid.startswith(folder)), len(_WAITING) + 1)
