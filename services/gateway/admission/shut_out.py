"""Whose requests are nobody's any more: their key, user or tenant was shut while they
ran. Pure.
"""

from datetime import datetime

from schemas.control import KeyChanged
from services.common.control.authentication import Refusal, check_rights
from services.common.control.state import ControlState
from services.common.http.problems import Problem, unauthenticated
from services.gateway.admission.admitted import Admitted

SHUT_OUT: Problem = unauthenticated(
    "The API key was revoked, or its user or tenant suspended or deleted, while the request was under way; "
    "it was taken back."
).problem


def is_shut_out(state: ControlState, admitted: Admitted, now: datetime) -> bool:
    """Whether a request's key is revoked, deleted or purged, or its user or tenant is
    suspended or deleted. What a key asked for before it expired goes on.
    """
    request = admitted.request
    key = state.keys.get(request.key_id)
    if request.key_id and (key is None or _is_revoked(state, key, now)):
        return True
    return not state.is_open(request.tenant, key.user if key is not None else admitted.user)


def _is_revoked(state: ControlState, key: KeyChanged, now: datetime) -> bool:
    return check_rights(state, key, None, now) is Refusal.REVOKED
