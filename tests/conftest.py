"""Fixtures that every kind of test may use, and how tests share two workers."""

import functools
import gc
import os
import sys
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pytest
import structlog
from _pytest.assertion.rewrite import AssertionRewritingHook
from hypothesis import settings

from tests.lifetimes import INSTALLATIONS, end_unused, place_of

if TYPE_CHECKING:
    from xdist.scheduler import LoadFileScheduling

settings.register_profile("repeatable", deadline=None, derandomize=True)
settings.register_profile("exploring", deadline=None)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "repeatable"))

pytest_plugins = ["tests.support.kafka", "tests.support.store", "tests.support.installation"]
"""Fixtures of the integration tests that are made in modules beside them."""


@pytest.fixture(autouse=True)
def _logging_as_before() -> Iterator[None]:
    """Undoes what a command set up in this process: it logs to the standard error of its
    own run, which is closed when that ends.
    """
    yield
    structlog.reset_defaults()


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> "LoadFileScheduling":
    """Keeps a file's tests on one worker, and all that share the installation too."""
    from xdist.scheduler import LoadFileScheduling

    class ByFile(LoadFileScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return "installation" if nodeid.startswith(INSTALLATIONS) else super()._split_scope(nodeid)

    return ByFile(config, log)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begins with what takes longest; pytest-randomly's order stays within that."""
    items.sort(key=lambda item: place_of(item.nodeid))


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown(nextitem: pytest.Item | None) -> None:
    """Ends what only tests before the next one share: they come in order at each worker."""
    end_unused(nextitem.nodeid if nextitem else None)


def pytest_sessionfinish() -> None:
    """Ends what is left where the tests were broken off."""
    end_unused(None)


def pytest_configure() -> None:
    """Lets no module be parsed for pytest in the middle of a collection of garbage.

    Plugins import modules late, which pytest parses to rewrite them. CPython before 3.11.8
    fails there where a finaliser that formats a traceback comes in between (gh-106905).
    """
    for finder in sys.meta_path:
        if isinstance(finder, AssertionRewritingHook):
            finder.exec_module = _without_collection(finder.exec_module)  # type: ignore[method-assign]


def _without_collection(exec_module: Callable[[ModuleType], None]) -> Callable[[ModuleType], None]:
    @functools.wraps(exec_module)
    def guarded(module: ModuleType) -> None:
        collects = gc.isenabled()
        gc.disable()
        try:
            exec_module(module)
        finally:
            if collects:
                gc.enable()

    return guarded
