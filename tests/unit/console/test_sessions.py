"""Sessions: what a token proves, and when it no longer does."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.control import KeyChanged
from services.console.identity.sessions import EndedSessions, Session, SessionSigner, session_digest

NOW = 1_800_000_000
SIGNER = SessionSigner("a pepper for the tests only")
KEY = KeyChanged(
    key_id="abcd1234",
    secret_hmac="00" * 32,
    name="n",
    tenant="acme",
    created_at=datetime(2026, 1, 1, tzinfo=UTC),
)
SESSION = Session("0" * 31 + "1", KEY.key_id, NOW, NOW + 3600)


def find(key_id: str) -> KeyChanged | None:
    """The one key that there is."""
    return KEY if key_id == KEY.key_id else None


def test_token_of_a_session_gives_the_session_back() -> None:
    """Every console replica reads what another signed."""
    assert SIGNER.read(SIGNER.token(SESSION, KEY), find, NOW) == SESSION


def test_token_ends_with_its_time() -> None:
    """From `expires_at` on it opens nothing."""
    token = SIGNER.token(SESSION, KEY)
    assert SIGNER.read(token, find, NOW + 3599) is not None
    assert SIGNER.read(token, find, NOW + 3600) is None


@pytest.mark.parametrize("changed", [{"secret_hmac": "11" * 32}, {"tenant": "globex"}])
def test_token_ends_when_its_key_is_another(changed: dict[str, str]) -> None:
    """A key of the same id with another secret or tenant did not open this session."""
    token = SIGNER.token(SESSION, KEY)
    assert SIGNER.read(token, lambda _: KEY.model_copy(update=changed), NOW) is None
    assert SIGNER.read(token, lambda _: None, NOW) is None


def test_token_signed_under_another_pepper_is_refused() -> None:
    """Only this platform's consoles open sessions."""
    forged = SessionSigner("another pepper altogether").token(SESSION, KEY)
    assert SIGNER.read(forged, find, NOW) is None


@given(st.data())
def test_token_with_any_one_character_changed_is_refused(data: st.DataObject) -> None:
    """Neither the times nor the key nor the signature can be altered."""
    token = SIGNER.token(SESSION, KEY)
    place = data.draw(st.integers(0, len(token) - 1))
    other = data.draw(st.characters().filter(lambda one: one != token[place]))
    changed = token[:place] + other + token[place + 1 :]
    read = SIGNER.read(changed, find, NOW)
    # Only the last base64 character has bits that mean nothing; text is compared, so they count too.
    assert read is None


@given(st.text(max_size=400))
def test_token_of_any_text_is_refused_quietly(text: str) -> None:
    """A cookie is whatever a client sends."""
    assert SIGNER.read(text, find, NOW) is None
    assert not SIGNER.is_csrf_token(SESSION, text)


def test_csrf_token_is_good_for_its_session_only() -> None:
    """Another session's, or the session's id, changes nothing."""
    other = Session("f" * 32, KEY.key_id, NOW, NOW + 3600)
    assert SIGNER.is_csrf_token(SESSION, SIGNER.csrf_token(SESSION))
    assert not SIGNER.is_csrf_token(SESSION, SIGNER.csrf_token(other))
    assert SESSION.session_id not in SIGNER.csrf_token(SESSION)


def end(ended: EndedSessions, session: Session, at: int = NOW, *, now_s: float | None = None) -> None:
    """Notes a log-out as it is read from the log."""
    ended.end(
        session.key_id,
        session_digest(session),
        began_at=session.began_at,
        ended_at=at,
        now_s=at if now_s is None else now_s,
    )


def test_session_that_was_logged_out_stays_so_while_others_go_on() -> None:
    """Logging out on one device leaves the other alone."""
    ended = EndedSessions(3600)
    other = Session("2" * 32, KEY.key_id, NOW, NOW + 3600)
    end(ended, SESSION)
    assert ended.has(SESSION)
    assert not ended.has(other)
    assert SESSION.session_id not in repr(ended)


@pytest.mark.parametrize("began_s", [0, 1])
def test_more_log_outs_than_are_remembered_end_the_keys_earlier_sessions(began_s: int) -> None:
    """Forgetting a log-out would open a copied cookie again; so none is forgotten, nor
    those of the very second in which there were too many.
    """
    ended = EndedSessions(3600, per_key=4)
    several = [Session(f"{number:032x}", KEY.key_id, NOW + began_s, NOW + 3600) for number in range(10)]
    for session in several:
        end(ended, session, NOW + 1)
    assert all(ended.has(session) for session in several)
    assert not ended.has(Session("a" * 32, KEY.key_id, NOW + 2, NOW + 3600))
    assert not ended.has(Session("a" * 32, "other123", NOW, NOW + 3600))
    assert sum(map(len, ended._ended.values())) <= 4


def test_log_out_of_a_session_that_is_over_anyway_takes_no_memory() -> None:
    """Read again at the start, days later; nor does a record whose time lies ahead shut
    out sessions to come.
    """
    ended = EndedSessions(3600, per_key=1)
    end(ended, SESSION, NOW + 5, now_s=NOW + 3601)
    assert not ended._ended
    for number in range(3):
        end(ended, Session(f"{number:032x}", KEY.key_id, NOW, NOW + 9), NOW + 9_999, now_s=NOW + 10)
    assert not ended.has(Session("a" * 32, KEY.key_id, NOW + 11, NOW + 3600))


def test_logged_out_sessions_stay_out_where_the_consoles_clocks_differ() -> None:
    """A console whose clock is ahead ends many; then one that is behind ends another."""
    ended = EndedSessions(3600, per_key=2)
    ahead = [Session(f"{number:032x}", KEY.key_id, NOW + 30, NOW + 3600) for number in range(6)]
    behind = [Session(f"{number:032x}", KEY.key_id, NOW - 5, NOW + 3600) for number in range(6, 12)]
    for session in ahead:
        end(ended, session, NOW + 31, now_s=NOW)
    for session in behind:
        end(ended, session, NOW, now_s=NOW)
    assert all(ended.has(session) for session in (*ahead, *behind))
    far = Session("f" * 32, KEY.key_id, NOW + 10**9, NOW + 2 * 10**9)
    for number in range(4):
        end(ended, Session(f"{number:031x}f", KEY.key_id, far.began_at, far.expires_at), NOW, now_s=NOW)
    assert not ended.has(Session("b" * 32, KEY.key_id, NOW + 100, NOW + 3600))
