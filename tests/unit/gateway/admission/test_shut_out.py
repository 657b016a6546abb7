"""What is under way for whom the door was shut is taken back."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from schemas.control import TenantChanged, UserChanged
from services.common.control.state import ControlState
from tests.unit.gateway.streams.stage import CONTROL, DONE, KEY, NOW, Stage, chunk, make_stage


@pytest.fixture
async def stage() -> Stage:
    """A registry on a steady bus."""
    return make_stage()


LATER = NOW + timedelta(seconds=5)


def with_key(**fields: Any) -> ControlState:
    """The state after a change of the key."""
    return replace(CONTROL, keys={"k": KEY.model_copy(update=fields)})


def with_tenant(**fields: Any) -> ControlState:
    """The state after a change of the tenant."""
    return replace(CONTROL, tenants={"t": TenantChanged(tenant="t", created_at=NOW, **fields)})


def with_user(user: str, **fields: Any) -> ControlState:
    """The state after a change of a user."""
    entry = UserChanged(tenant="t", user=user, created_at=NOW, **fields)
    return replace(CONTROL, users={f"t/{user}": entry})


SHUT = {
    "revoked": with_key(revoked_at=NOW),
    "deleted": with_key(deleted_at=NOW),
    "purged": replace(CONTROL, keys={}),
    "tenant suspended": with_tenant(suspended_at=NOW),
    "tenant deleted": with_tenant(deleted_at=NOW),
    "tenant purged": replace(CONTROL, tenants={}),
    "user suspended": with_user("jo", suspended_at=NOW),
    "user deleted": with_user("jo", deleted_at=NOW),
}
OPEN = {
    "unchanged": CONTROL,
    "renamed": with_key(name="other", scopes=(), models=("other",)),
    "expired": with_key(expires_at=NOW),
    "to be revoked later": with_key(revoked_at=LATER),
    "rotated": with_key(secret_hmac="1" * 64),
    "another user": with_user("ann", suspended_at=NOW),
}


@pytest.mark.parametrize("how", SHUT)
@pytest.mark.parametrize("began", [True, False])
async def test_request_of_whom_is_shut_out_is_taken_back(stage: Stage, how: str, *, began: bool) -> None:
    """Its client is told at once, and the bus when the client was; queued or running."""
    reply_stream = stage.follow()
    if began:
        stage.hear(reply_stream, chunk(0))
    stage.control = SHUT[how]
    stage.pass_time(1)
    assert reply_stream.problem is not None
    assert (reply_stream.problem.status, reply_stream.problem.code) == (401, "invalid_api_key")
    stage.registry.release(reply_stream, window_s=100)
    stage.pass_time(1)
    assert (stage.publisher.cancelled, stage.registry.followed) == (["invalid_api_key"], 0)


@pytest.mark.parametrize("how", OPEN)
async def test_request_of_whom_is_not_shut_out_goes_on(stage: Stage, how: str) -> None:
    """Whatever else changes; what was asked for in time needs no longer life of its key."""
    reply_stream = stage.follow()
    stage.hear(reply_stream, chunk(0))
    stage.control = OPEN[how]
    stage.pass_time(2)
    assert (reply_stream.problem, stage.publisher.cancelled) == (None, [])


async def test_request_whose_client_is_away_is_taken_back(stage: Stage) -> None:
    """Kept for its client to come back, it would generate for nobody; what ended, or goes
    on elsewhere, is left alone.
    """
    away, elsewhere, ended = (stage.follow() for _ in range(3))
    stage.hear(ended, chunk(0, end=DONE))
    elsewhere.give_away()
    for one in (away, elsewhere, ended):
        stage.registry.release(one, window_s=100)
    stage.control = with_key(revoked_at=NOW)
    stage.pass_time(1)
    assert stage.publisher.cancelled == ["invalid_api_key"]
    assert ended.problem is None


@pytest.mark.parametrize(("user", "cut"), [("jo", True), ("ann", False)])
async def test_request_by_an_identity_providers_token_is_its_users(
    stage: Stage, user: str, *, cut: bool
) -> None:
    """There is no key to revoke: suspending the user ends what the token began."""
    reply_stream = stage.follow(key_id="", user=user)
    stage.control = with_user("jo", suspended_at=NOW)
    stage.pass_time(1)
    assert (reply_stream.problem is not None) == cut


async def test_revocation_of_later_holds_when_its_time_comes(stage: Stage) -> None:
    """No further change tells of it."""
    reply_stream = stage.follow()
    stage.control = with_key(revoked_at=LATER)
    stage.pass_time(4)
    assert reply_stream.problem is None
    stage.pass_time(2)
    assert reply_stream.problem is not None
