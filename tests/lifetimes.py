"""In which order folders of tests come, and what those of some share: it ends after the
last of them and not with the session, since an installation that nobody asks takes a third
of a processor.
"""

import contextlib
from typing import TypeVar

INSTALLATIONS = ("tests/e2e", "tests/chaos")
"""Tests of whole installations: at one worker, one after another."""
SERVERS = (*INSTALLATIONS, "tests/integration", "tests/contract")
"""Tests that mostly wait, the longest first; unit tests fill what is left."""

T = TypeVar("T")
_open: dict[tuple[str, ...], contextlib.ExitStack] = {}


def place_of(test: str) -> int:
    """Where a test comes."""
    return next((at for at, folder in enumerate(SERVERS) if test.startswith(folder)), len(SERVERS))


def enter_for(tests: tuple[str, ...], shared: "contextlib.AbstractContextManager[T]") -> T:
    """Enters what all tests whose ids begin so share."""
    return _open.setdefault(tests, contextlib.ExitStack()).enter_context(shared)


def end_unused(following: str | None) -> None:
    """Ends what the test that follows, if any, has no part in."""
    for tests in list(_open):
        if following is None or not following.startswith(tests):
            _open.pop(tests).close()
