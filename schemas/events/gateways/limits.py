"""What gateways tell each other of the use of limits: limits.shares."""

from pydantic import Field

from schemas.base import Finite, Message

MAX_NAMES = 1000
"""Names in one record; what does not fit comes with the next."""


class LimitShares(Message):
    """A gateway's own part in the use of limits, several times a second while it
    changes, else once a second.

    `used` is what was used since its last record, in seconds of each limit's period,
    and adds up. `held` is what it holds at present (requests in flight, reserved
    tokens, reserved money), 0 where it holds nothing any more; only what changed is
    told, and again from time to time. `incarnation` changes with a restart, and nothing
    of the former one is held any more.
    """

    gateway_id: str
    incarnation: str
    used: dict[str, Finite] = Field(default_factory=dict)
    held: dict[str, Finite] = Field(default_factory=dict)
    stopping: bool = False
