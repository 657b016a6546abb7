"""One model's dispatching, without I/O: what happened goes in, what to do about it
comes out.

`state.py` decides what each event does, `request_ends.py` ends requests, `rules.py` has
the limits and timeouts, `actions.py` what is to be done, `completions.py` the ends to
commit, `takeover.py` when the running work is known; `queue/` holds what waits and
bounds it, `poison_requests.py` finds requests that kill their replicas.
"""

from services.inference.domain.dispatch.actions import Action, Assign, Ended, Moment, Reply, Withdraw
from services.inference.domain.dispatch.rules import DispatchRules
from services.inference.domain.dispatch.state import Dispatch
from services.inference.domain.dispatch.takeover import Takeover

__all__ = [
    "Action",
    "Assign",
    "Dispatch",
    "DispatchRules",
    "Ended",
    "Moment",
    "Reply",
    "Takeover",
    "Withdraw",
]
