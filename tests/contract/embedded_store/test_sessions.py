"""Sessions over HTTP: what lives in one, and when it ends."""

import uuid

from tests.support.store import RunningStore


def test_session_keeps_its_state_and_single_requests_do_not(store: RunningStore) -> None:
    """SET, USE and temporary tables live in a session; what came in the URL ends with
    its request.
    """
    session = {"session_id": uuid.uuid4().hex}
    assert store.ask("SET max_block_size = 4321", **session).status == 200
    assert store.ask("USE system", **session).status == 200
    assert (
        store.ask("SELECT getSetting('max_block_size'), currentDatabase()", **session).text == "4321\tsystem"
    )
    assert (
        store.ask(
            "SELECT getSetting('max_block_size'), currentDatabase()",
            max_block_size=99,
            database="tocsin",
            **session,
        ).text
        == "99\ttocsin"
    )
    assert (
        store.ask("SELECT getSetting('max_block_size'), currentDatabase()", **session).text == "4321\tsystem"
    )
    assert store.ask("SELECT getSetting('max_block_size')").text != "4321"
    assert (
        store.ask("SELECT 1", session_id=session["session_id"], user="service", session_check=1).code == 372
    )


def test_session_check_and_close_session(store: RunningStore) -> None:
    """An unknown session is told, a closed one is unknown, and a timeout beyond an hour
    is refused.
    """
    session = {"session_id": uuid.uuid4().hex}
    assert store.ask("SELECT 1", session_check=1, **session).code == 372
    assert store.ask("SELECT 1", **session).status == 200
    assert store.ask("SELECT 1", session_check=1, close_session=1, **session).status == 200
    assert store.ask("SELECT 1", session_check=1, **session).code == 372
    assert store.ask("SELECT 1", session_timeout=100_000, **session).code == 374
    assert store.ask("SELECT 1", session_timeout=0, **session).status == 200
    assert store.ask("SELECT 1", session_check=1, **session).code == 372
