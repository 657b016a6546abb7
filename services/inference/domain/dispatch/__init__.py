"""One model's dispatching, without I/O: what happened goes in, what to do about it
comes out.

`state.py` holds the requests and judges, `rules.py` says by what, `actions.py` what is
to be done, `takeover.py` when the running work is known; `queue/` holds what waits and
bounds it, `suspects.py` finds requests that kill their replicas.
"""

from services.inference.domain.dispatch.actions import Action, Assign, Ended, Moment, Tell, Withdraw
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
    "Takeover",
    "Tell",
    "Withdraw",
]
